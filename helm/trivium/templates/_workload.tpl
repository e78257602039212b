{{/* The one Deployment that every process is. */}}
{{- define "trivium.workload" -}}
{{- $root := .root -}}
{{- $values := .values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "trivium.metadata" (list $root .process) | nindent 2 }}
spec:
  {{- if eq (default "" .facts.collections) "write" }}
  # Collections have one writer, which holds a lock on them: a second indexer, even for the seconds of a rollout, would
  # refuse to start. So there is one replica, and the old one ends before the new one begins.
  replicas: 1
  strategy:
    type: Recreate
  {{- else }}
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ $values.strategy.maxSurge }}
      maxUnavailable: {{ $values.strategy.maxUnavailable }}
  {{- end }}
  revisionHistoryLimit: 5
  progressDeadlineSeconds: {{ $values.progressDeadlineSeconds }}
  selector:
    matchLabels:
      {{- include "trivium.selector" (list $root .process) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "trivium.podLabels" (list $root .process) | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/config: {{ include "trivium.settings" . | sha256sum }}
        {{- with include "trivium.checksumLists" . | trim }}
        checksum/sources: {{ sha256sum . }}
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ .name }}
      {{- include "trivium.podDefaults" (list $root $values) | nindent 6 }}
      # The process needs drainDelayS + drainGraceS to end after the sleep; the rest is for flushing spans.
      terminationGracePeriodSeconds: {{ include "trivium.gracePeriodSeconds" . }}
      {{- if and (include "trivium.hasGpu" .) $values.runtimeClassName }}
      runtimeClassName: {{ $values.runtimeClassName }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with include "trivium.affinity" . | fromYaml }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if ne (default "" .facts.collections) "write" }}
      {{- with $values.topologySpread }}
      topologySpreadConstraints:
        {{- range . }}
        - {{ toYaml . | nindent 10 | trim }}
          labelSelector:
            matchLabels:
              {{- include "trivium.selector" (list $root $.process) | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- end }}
      {{- end }}
      {{- with include "trivium.initContainers" . | trim }}
      initContainers:
        {{- . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .process }}
          image: {{ include "trivium.image" (list $root .facts.image) }}
          imagePullPolicy: {{ $root.Values.images.pullPolicy }}
          {{- with .facts.command }}
          command: {{ toJson . }}
          {{- end }}
          envFrom:
            - configMapRef:
                name: {{ .name }}
          {{- with include "trivium.env" . | trim }}
          env:
            {{- . | nindent 12 }}
          {{- end }}
          ports:
            - name: grpc
              containerPort: {{ .facts.grpcPort }}
            - name: metrics
              containerPort: {{ .facts.metricsPort }}
            - name: health
              containerPort: {{ .facts.healthPort }}
          # The service `liveness` is SERVING from the first second, also while a model loads, until the event loop
          # hangs: nothing that is merely slow is killed. The service "" is SERVING once a real inference has run.
          startupProbe:
            grpc:
              port: {{ .facts.healthPort }}
              service: liveness
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 60
          readinessProbe:
            grpc:
              port: {{ .facts.healthPort }}
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 2
          livenessProbe:
            grpc:
              port: {{ .facts.healthPort }}
              service: liveness
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          {{- with $values.preStopSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ . }}
          {{- end }}
          # A process that refuses to start says why in its last log line; `kubectl describe pod` then shows it.
          terminationMessagePolicy: FallbackToLogsOnError
          resources:
            {{- include "trivium.resources" . | nindent 12 }}
          securityContext:
            {{- include "trivium.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "trivium.volumeMounts" . | nindent 12 }}
      volumes:
        {{- include "trivium.volumes" . | nindent 8 }}
      {{- if and (include "trivium.hasGpu" .) $values.gpu.deviceClassName }}
      resourceClaims:
        - name: gpu
          resourceClaimTemplateName: {{ .name }}-{{ $values.gpu.deviceClassName }}
      {{- end }}
{{- end -}}

{{/* preStop, then the process's own delay and grace, then 10 s for the rest. */}}
{{- define "trivium.gracePeriodSeconds" -}}
{{- $config := .values.config -}}
{{- addf .values.preStopSeconds $config.drainDelayS $config.drainGraceS 10 | ceil | int -}}
{{- end -}}

{{- define "trivium.env" -}}
{{- range $name, $value := .values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- if and .facts.hasModel .root.Values.hub.enabled }}
- name: HF_HUB_OFFLINE
  value: "0"
{{- with .root.Values.hub.tokenSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What is asked of the node. A GPU is asked for as a counted resource, or as a claim (dynamic allocation). */}}
{{- define "trivium.resources" -}}
{{- $resources := deepCopy .values.resources -}}
{{- if include "trivium.hasGpu" . -}}
{{- if .values.gpu.deviceClassName -}}
{{- $_ := set $resources "claims" (list (dict "name" "gpu")) -}}
{{- else -}}
{{- $limits := default dict $resources.limits -}}
{{- $_ := set $limits .values.gpu.resourceName (int .values.gpu.count) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* "true" for a process whose pods all live on the one node that holds the collections, else empty. */}}
{{- define "trivium.sharesNode" -}}
{{- $collections := .root.Values.collections -}}
{{- if and .facts.collections (eq $collections.source "claim") (eq $collections.accessMode "ReadWriteOnce") -}}
true
{{- end -}}
{{- end -}}

{{/* A claim that one node holds (ReadWriteOnce) brings retriever and indexer onto that node. A retriever's term matches
the retriever itself, so the first of them may go anywhere, to a GPU say; the indexer waits for it and follows. */}}
{{- define "trivium.affinity" -}}
{{- $affinity := deepCopy .values.affinity -}}
{{- if include "trivium.sharesNode" . -}}
{{- $expression := dict "key" "app.kubernetes.io/component" "operator" "In" "values" (list "retriever" "indexer") -}}
{{- if eq .process "indexer" -}}
{{- $_ := set $expression "values" (list "retriever") -}}
{{- end -}}
{{- $labels := include "trivium.selector" (list .root "") | fromYaml -}}
{{- $selector := dict "matchLabels" $labels "matchExpressions" (list $expression) -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $selector -}}
{{- $near := default dict $affinity.podAffinity -}}
{{- $key := "requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $_ := set $near $key (append (default list (index $near $key)) $term) -}}
{{- $_ := set $affinity "podAffinity" $near -}}
{{- end -}}
{{- toYaml $affinity -}}
{{- end -}}

{{/* A GPU by dynamic resource allocation: each pod gets a claim of its own, made from this. Kubernetes lets nobody change
it, so another class is another name. */}}
{{- define "trivium.claimTemplate" -}}
{{- if and (include "trivium.hasGpu" .) .values.gpu.deviceClassName -}}
{{- $version := .root.Capabilities.KubeVersion.Version -}}
{{- if semverCompare "<1.34.0-0" $version -}}
{{- fail (printf "%s.gpu.deviceClassName: resource claims need Kubernetes 1.34, this is %s" .process $version) -}}
{{- end -}}
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata:
  {{- include "trivium.metadata" (list .root .process .values.gpu.deviceClassName) | nindent 2 }}
spec:
  spec:
    devices:
      requests:
        - name: gpu
          exactly:
            deviceClassName: {{ .values.gpu.deviceClassName }}
            allocationMode: ExactCount
            count: {{ .values.gpu.count }}
{{- end }}
{{- end -}}
