{{/* A process's settings: `config.maxBatchTokens` is RERANKER_MAX_BATCH_TOKENS. Then those that the chart knows. */}}
{{- define "trivium.config" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "trivium.metadata" (list .root .process) | nindent 2 }}
data:
  {{- include "trivium.settings" . | trim | nindent 2 }}
{{- end -}}

{{- define "trivium.settings" -}}
{{- $prefix := upper .process -}}
{{- range $key, $value := mergeOverwrite (deepCopy .values.config) (include "trivium.chartSet" . | fromYaml) }}
{{- if not (kindIs "invalid" $value) }}
{{ $prefix }}_{{ $key | snakecase | upper }}: {{ include "trivium.text" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The settings that follow from the rest of the values, under their names in values. */}}
{{- define "trivium.chartSet" -}}
{{- $root := .root -}}
listenAddress: {{ printf "%s:%v" $root.Values.listenHost .facts.grpcPort | quote }}
metricsAddress: {{ printf "%s:%v" $root.Values.listenHost .facts.metricsPort | quote }}
healthAddress: {{ printf "%s:%v" $root.Values.listenHost .facts.healthPort | quote }}
otlpEndpoint: {{ $root.Values.telemetry.otlpEndpoint | quote }}
traceSampleRatio: {{ $root.Values.telemetry.sampleRatio }}
{{- if $root.Values.tls.enabled }}
tlsCertificatePath: /tls/tls.crt
tlsKeyPath: /tls/tls.key
tlsCaPath: /tls/ca.crt
{{- end }}
{{- range .facts.calls }}
{{ . }}Address: dns:///{{ include "trivium.headlessAddress" (list $root .) }}
{{- end }}
{{- if .facts.collections }}
collectionsPath: /collections
{{- end }}
{{- if .facts.hasModel }}
device: {{ include "trivium.device" . }}
{{- $computesOnGpu := and (include "trivium.hasGpu" .) (ne (include "trivium.device" .) "cpu") }}
deviceExclusive: {{ if $computesOnGpu }}true{{ else }}false{{ end }}
{{- end }}
{{- end -}}

{{/* A granted GPU is the only one that its container sees, hence the first. A device named in values has its way. */}}
{{- define "trivium.device" -}}
{{- if ne .values.config.device "auto" -}}
{{- .values.config.device -}}
{{- else -}}
{{- if include "trivium.hasGpu" . }}cuda:0{{ else }}cpu{{ end -}}
{{- end -}}
{{- end -}}

{{/* "true" for a process to which a GPU is granted, else empty. */}}
{{- define "trivium.hasGpu" -}}
{{- if and .facts.hasModel (gt (int .values.gpu.count) 0) -}}true{{- end -}}
{{- end -}}

{{/* A value as an environment variable's text. YAML's numbers are floats here: 16777216 must not be 1.6777216e+07. */}}
{{- define "trivium.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end -}}
{{- else if kindIs "slice" . -}}
{{- join "," . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}
