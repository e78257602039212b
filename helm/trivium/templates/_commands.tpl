{{/* Pods that run a `trivium` command from the cli image and end: Jobs, CronJobs and the test. */}}

{{/* (dict root component arguments [resources] [source]) → a pod template. `source` is a volume for /documents. */}}
{{- define "trivium.commandPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "trivium.podLabels" (list $root .component) | nindent 4 }}
{{- include "trivium.commandPodSpec" . | nindent 0 }}
{{- end -}}

{{- define "trivium.commandPodSpec" -}}
{{- $root := .root -}}
spec:
  restartPolicy: Never
  {{- include "trivium.podDefaults" (list $root $root.Values.workload) | nindent 2 }}
  containers:
    - name: {{ .component }}
      image: {{ include "trivium.image" (list $root "cli") }}
      imagePullPolicy: {{ $root.Values.images.pullPolicy }}
      args:
        {{- toYaml .arguments | nindent 8 }}
      {{- if $root.Values.tls.enabled }}
      env:
        - name: TRIVIUM_TLS_CERTIFICATE_PATH
          value: /tls/tls.crt
        - name: TRIVIUM_TLS_KEY_PATH
          value: /tls/tls.key
        - name: TRIVIUM_TLS_CA_PATH
          value: /tls/ca.crt
      {{- end }}
      terminationMessagePolicy: FallbackToLogsOnError
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "trivium.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if .source }}
        - name: documents
          mountPath: /documents
          readOnly: true
        {{- end }}
        {{- if $root.Values.tls.enabled }}
        - name: tls
          mountPath: /tls
          readOnly: true
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: {{ $root.Values.workload.scratch.tmp }}
    {{- with .source }}
    - name: documents
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if $root.Values.tls.enabled }}
    - name: tls
      secret:
        secretName: {{ include "trivium.tlsSecret" (list $root "cli") }}
        defaultMode: 0440
    {{- end }}
{{- end -}}

{{/* The pod that ingests, for the Job and the CronJob. */}}
{{- define "trivium.ingestPod" -}}
{{- $root := index . 0 -}}
{{- $ingest := $root.Values.ingest -}}
{{- $indexer := include "trivium.headlessAddress" (list $root "indexer") -}}
{{- $arguments := list "ingest" "/documents" "--indexer" $indexer "--collection" $ingest.collection -}}
{{- $arguments = concat $arguments (list "--language" $ingest.language) -}}
{{- $arguments = concat $arguments (list "--wait" (include "trivium.text" $ingest.waitSeconds)) -}}
{{- $command := dict "root" $root "component" (index . 1) "arguments" $arguments "resources" $ingest.resources -}}
{{- include "trivium.commandPod" (set $command "source" $ingest.source) -}}
{{- end -}}

{{/* (list root component podTemplate jobSpec) → a Job. A Job cannot be changed, so its name changes with what it runs. */}}
{{- define "trivium.job" -}}
{{- $pod := index . 2 -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "trivium.metadata" (list (index . 0) (index . 1) ($pod | sha256sum | trunc 8)) | nindent 2 }}
spec:
  {{- toYaml (index . 3) | nindent 2 }}
  template:
    {{- $pod | nindent 4 }}
{{- end -}}
