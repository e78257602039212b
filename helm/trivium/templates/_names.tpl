{{/* Names, labels and addresses. */}}

{{- define "trivium.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* (list root component) → the labels by which pods are found; they never change in a release's life. */}}
{{- define "trivium.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* (list root component) → the labels of a pod: without the chart's version, whose change alone restarts nothing. */}}
{{- define "trivium.podLabels" -}}
{{ include "trivium.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end -}}

{{/* (list root component) → every label of an object. */}}
{{- define "trivium.labels" -}}
{{- $root := index . 0 -}}
{{ include "trivium.podLabels" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (list root component [suffix]) → name, namespace and labels of an object of the component. */}}
{{- define "trivium.metadata" -}}
{{- $root := index . 0 -}}
name: {{ prepend (rest .) (include "trivium.fullname" $root) | join "-" }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- include "trivium.labels" . | nindent 2 }}
{{- end -}}

{{/* (list root process) → what `workload` and the process's own values say together, as YAML. */}}
{{- define "trivium.values" -}}
{{- $root := index . 0 -}}
{{- mergeOverwrite (deepCopy $root.Values.workload) (deepCopy (index $root.Values (index . 1))) | toYaml -}}
{{- end -}}

{{/* (list root process) → its facts as YAML: files/processes.yaml and the ports that follow from it. */}}
{{- define "trivium.facts" -}}
{{- $facts := index ((index . 0).Files.Get "files/processes.yaml" | fromYaml) (index . 1) -}}
{{- $number := int $facts.number -}}
{{- $_ := set $facts "grpcPort" (add 7000 $number) -}}
{{- $_ := set $facts "metricsPort" (add 7100 $number) -}}
{{- $_ := set $facts "healthPort" (add 7200 $number) -}}
{{- toYaml $facts -}}
{{- end -}}

{{/* (list root process) → host:port behind which every replica of the process is an address. */}}
{{- define "trivium.headlessAddress" -}}
{{- $root := index . 0 -}}
{{- $facts := include "trivium.facts" . | fromYaml -}}
{{ include "trivium.fullname" $root }}-{{ index . 1 }}.{{ $root.Release.Namespace }}.svc:{{ $facts.grpcPort }}
{{- end -}}

{{/* host:port of the gateway for callers: one cluster address. */}}
{{- define "trivium.gatewayAddress" -}}
{{ include "trivium.fullname" . }}.{{ .Release.Namespace }}.svc:{{ (include "trivium.facts" (list . "gateway") | fromYaml).grpcPort }}
{{- end -}}

{{/* (list root image) → an image's reference, by digest where one is given. */}}
{{- define "trivium.image" -}}
{{- $images := (index . 0).Values.images -}}
{{- $name := index . 1 -}}
{{- with $images.registry }}{{ . }}/{{ end -}}
trivium-{{ $name }}
{{- with index $images.digests $name -}}
@{{ . }}
{{- else -}}
:{{ $images.tag | default (index $ 0).Chart.AppVersion }}
{{- end -}}
{{- end -}}
