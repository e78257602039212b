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
        {{- range $policy.downloadPorts }}
        - {port: {{ int . }}, protocol: TCP}
        {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Who may call a process's gRPC port. */}}
{{- define "trivium.callers" -}}
- from:
    {{- if eq .process "gateway" }}
    {{- with .root.Values.networkPolicy.gatewayCallers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- $callers := list -}}
    {{- range $command, $calls := include "trivium.commands" .root | fromYaml }}
    {{- if has $.process $calls }}
    {{- $callers = append $callers $command }}
    {{- end }}
    {{- end }}
    {{- if has .process (include "trivium.facts" (list .root "gateway") | fromYaml).calls }}
    {{- $callers = append $callers "gateway" }}
    {{- end }}
    {{- range $callers }}
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
    {{- range $.Values.networkPolicy.dnsPorts }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- end -}}

{{/* The port in http://host:port. */}}
{{- define "trivium.otlpPort" -}}
{{- regexFind "[0-9]+$" .Values.telemetry.otlpEndpoint -}}
{{- end -}}

{{/* The commands that run here, and whom each calls, as YAML. */}}
{{- define "trivium.commands" -}}
{{- range $command, $calls := .Files.Get "files/commands.yaml" | fromYaml }}
{{- if or (eq $command "test") (get (get $.Values $command) "enabled") }}
{{ $command }}: {{ ternary (without $calls "indexer") $calls (eq "true" (include "trivium.isReadOnly" $)) | toJson }}
{{- end }}
{{- end }}
{{- end -}}
