{{/* Where the models of a process come from. */}}

{{- define "trivium.hasModelVolume" -}}
{{- if and .facts.hasModel (ne .values.models.source "embedded") -}}true{{- end -}}
{{- end -}}

{{- define "trivium.hasChecksums" -}}
{{- if and (include "trivium.hasModelVolume" .) .values.models.sha256 -}}true{{- end -}}
{{- end -}}

{{- define "trivium.modelVolume" -}}
{{- if include "trivium.hasModelVolume" . -}}
{{- $models := .values.models -}}
- name: models
  {{- if eq $models.source "claim" }}
  persistentVolumeClaim:
    claimName: {{ required (printf "%s.models.claim: which claim holds the models?" .process) $models.claim }}
    readOnly: true
  {{- else if eq $models.source "image" }}
  image:
    reference: {{ required (printf "%s.models.image: which image holds the models?" .process) $models.image }}
    pullPolicy: {{ .root.Values.images.pullPolicy }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ $models.fetch.sizeLimit }}
  {{- end }}
{{- if $models.sha256 }}
- name: checksums
  configMap:
    name: {{ .name }}-models
{{- end }}
{{- end }}
{{- end -}}

{{/* The list that `sha256sum --check` reads. */}}
{{- define "trivium.checksums" -}}
{{- if include "trivium.hasChecksums" . -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "trivium.metadata" (list .root .process "models") | nindent 2 }}
data:
  SHA256SUMS: |
    {{- range $path, $sum := .values.models.sha256 }}
    {{ $sum }}  {{ $path }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Fetch, then verify, before the process starts. Files that are not listed are not looked at. */}}
{{- define "trivium.initContainers" -}}
{{- if include "trivium.hasModelVolume" . -}}
{{- $models := .values.models -}}
{{- if eq $models.source "fetch" }}
- name: fetch-models
  image: {{ required (printf "%s.models.fetch.image: which image fetches the models?" .process) $models.fetch.image }}
  imagePullPolicy: {{ .root.Values.images.pullPolicy }}
  command:
    {{- toYaml $models.fetch.command | nindent 4 }}
  {{- with $models.fetch.secret }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  {{- include "trivium.initContainer" . | nindent 2 }}
    - name: models
      mountPath: /models
{{- end }}
{{- if $models.sha256 }}
- name: verify-models
  image: {{ include "trivium.image" (list .root .facts.image) }}
  imagePullPolicy: {{ .root.Values.images.pullPolicy }}
  command: [sha256sum, --check, --strict, --quiet, /checksums/SHA256SUMS]
  workingDir: /models
  {{- include "trivium.initContainer" . | nindent 2 }}
    - name: models
      mountPath: /models
      readOnly: true
    - name: checksums
      mountPath: /checksums
      readOnly: true
{{- else if eq $models.source "fetch" }}
{{- fail (printf "%s.models.sha256: what is fetched is verified; list the sha256 of its files" .process) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What both init containers have; ends inside volumeMounts. */}}
{{- define "trivium.initContainer" -}}
terminationMessagePolicy: FallbackToLogsOnError
resources:
  {{- toYaml .values.models.resources | nindent 2 }}
securityContext:
  {{- include "trivium.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end -}}
