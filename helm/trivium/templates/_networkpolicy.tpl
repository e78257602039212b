{{/* The data path, spelled: values.yaml has the table. */}}
{{- define "trivium.networkPolicy" -}}
{{- $root := .root -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- if $policy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "trivium.metadata" (list $root .process) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "trivium.selector" (list $root .process) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- include "trivium.callers" . | nindent 4 }}
    {{- with $policy.metricsReaders }}
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        - {port: {{ $.facts.metricsPort }}, protocol: TCP}
    {{- end }}
  egress:
    {{- include "trivium.dnsEgress" $root | nindent 4 }}
    {{- range .facts.calls }}
    {{- include "trivium.egressTo" (list $root .) | nindent 4 }}
    {{- end }}
    {{- if and $root.Values.telemetry.otlpEndpoint $policy.otlp }}
    - to:
        {{- toYaml $policy.otlp | nindent 8 }}
      ports:
        - {port: {{ include "trivium.otlpPort" $root }}, protocol: TCP}
    {{- end }}
    {{- if and .facts.hasModel (or $root.Values.hub.enabled (include "trivium.fetches" .)) $policy.downloads }}
    - to:
        {{- toYaml $policy.downloads | nindent 8 }}
      ports:
        - {port: 443, protocol: TCP}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Who may call a process's gRPC port. */}}
{{- define "trivium.callers" -}}
{{- $components := dict "gateway" (list "test" "load") "indexer" (list "ingest" "reindex" "test") -}}
- from:
    {{- if eq .process "gateway" }}
    {{- with .root.Values.networkPolicy.gatewayCallers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- range index $components .process | default (list "gateway") }}
    - podSelector:
        matchLabels:
          {{- include "trivium.selector" (list $.root .) | nindent 10 }}
    {{- end }}
  ports:
    - {port: {{ .facts.grpcPort }}, protocol: TCP}
{{- end -}}

{{/* (list root process) → the rule that lets a pod call the process. */}}
{{- define "trivium.egressTo" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "trivium.selector" . | nindent 10 }}
  ports:
    - {port: {{ (include "trivium.facts" . | fromYaml).grpcPort }}, protocol: TCP}
{{- end -}}

{{/* An empty list of peers would mean everybody: then there is no rule. */}}
{{- define "trivium.dnsEgress" -}}
{{- with .Values.networkPolicy.dns -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* The port in http://host:port. */}}
{{- define "trivium.otlpPort" -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .Values.telemetry.otlpEndpoint).host | trimPrefix ":" -}}
{{- default "4317" $port -}}
{{- end -}}
