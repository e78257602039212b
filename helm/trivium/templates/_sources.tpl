{{/* What is brought to a process and only read: models and collections, each from a claim, an image volume or a fetch. */}}

{{/* "true" where collections are brought: then there is no indexer, and nothing that would call it. Else empty. */}}
{{- define "trivium.isReadOnly" -}}
{{- if ne .Values.collections.source "claim" -}}true{{- end -}}
{{- end -}}

{{/* The process's sources by the volume's name: their values, and the place of these. A source is mounted at /<name>. */}}
{{- define "trivium.sources" -}}
{{- $sources := dict -}}
{{- if and .facts.hasModel (ne .values.models.source "embedded") -}}
{{- $_ := set $sources "models" (set (deepCopy .values.models) "place" (printf "%s.models" .process)) -}}
{{- end -}}
{{- if and .facts.collections (include "trivium.isReadOnly" .root) -}}
{{- $_ := set $sources "collections" (set (deepCopy .root.Values.collections) "place" "collections") -}}
{{- end -}}
{{- toYaml $sources -}}
{{- end -}}

{{/* "true" for a process that an init container fetches something for, else empty. */}}
{{- define "trivium.fetches" -}}
{{- range $source := include "trivium.sources" . | fromYaml -}}
{{- if eq $source.source "fetch" -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "trivium.sourceMounts" -}}
{{- range $name, $_ := include "trivium.sources" . | fromYaml }}
- name: {{ $name }}
  mountPath: /{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "trivium.sourceVolumes" -}}
{{- range $name, $source := include "trivium.sources" . | fromYaml }}
- name: {{ $name }}
  {{- if eq $source.source "claim" }}
  persistentVolumeClaim:
    claimName: {{ required (printf "%s.claim: which claim holds the %s?" $source.place $name) $source.claim }}
    readOnly: true
  {{- else if eq $source.source "image" }}
  {{- include "trivium.needsImageVolumes" (list $.root (printf "%s.source" $source.place)) }}
  image:
    reference: {{ required (printf "%s.image: which image holds the %s?" $source.place $name) $source.image }}
    pullPolicy: {{ $.root.Values.images.pullPolicy }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ $source.fetch.sizeLimit }}
  {{- end }}
{{- end }}
{{- if include "trivium.checksumLists" . | trim }}
- name: checksums
  configMap:
    name: {{ .name }}-checksums
{{- end }}
{{- end -}}

{{/* (list root place) → nothing, or a refusal of image volumes by the place that asks for one. */}}
{{- define "trivium.needsImageVolumes" -}}
{{- $version := (index . 0).Capabilities.KubeVersion.Version -}}
{{- if semverCompare "<1.31.0-0" $version -}}
{{- fail (printf "%s: image volumes need Kubernetes 1.31, this is %s" (index . 1) $version) -}}
{{- end -}}
{{- end -}}

{{- define "trivium.checksums" -}}
{{- with include "trivium.checksumLists" . | trim -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "trivium.metadata" (list $.root $.process "checksums") | nindent 2 }}
data:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* By file, the lists that `sha256sum --check` reads. */}}
{{- define "trivium.checksumLists" -}}
{{- range $name, $source := include "trivium.sources" . | fromYaml }}
{{- if $source.sha256 }}
{{ $name }}.sha256: |
  {{- range $path, $sum := $source.sha256 }}
  {{ $sum }}  {{ $path }}
  {{- end }}
{{- else if eq $source.source "fetch" }}
{{- fail (printf "%s.sha256: what is fetched is verified; list the sha256 of its files" $source.place) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Fetch, then verify, before the process starts. Files that are not listed are not looked at. */}}
{{- define "trivium.initContainers" -}}
{{- range $name, $source := include "trivium.sources" . | fromYaml }}
{{- if eq $source.source "fetch" }}
- name: fetch-{{ $name }}
  image: {{ required (printf "%s.fetch.image: which image fetches the %s?" $source.place $name) $source.fetch.image }}
  imagePullPolicy: {{ $.root.Values.images.pullPolicy }}
  command:
    {{- toYaml $source.fetch.command | nindent 4 }}
  {{- with $source.fetch.secret }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  {{- include "trivium.initContainer" $source | nindent 2 }}
    - name: {{ $name }}
      mountPath: /{{ $name }}
{{- end }}
{{- if $source.sha256 }}
- name: verify-{{ $name }}
  image: {{ include "trivium.image" (list $.root $.facts.image) }}
  imagePullPolicy: {{ $.root.Values.images.pullPolicy }}
  command: [sha256sum, --check, --strict, --quiet, /checksums/{{ $name }}.sha256]
  workingDir: /{{ $name }}
  {{- include "trivium.initContainer" $source | nindent 2 }}
    - name: {{ $name }}
      mountPath: /{{ $name }}
      readOnly: true
    - name: checksums
      mountPath: /checksums
      readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{/* What both init containers of a source have; ends inside volumeMounts. */}}
{{- define "trivium.initContainer" -}}
terminationMessagePolicy: FallbackToLogsOnError
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- include "trivium.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end -}}
