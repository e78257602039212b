{{/* (list root who) → name of the Secret with tls.crt, tls.key and ca.crt. `who` is a process, or cli. */}}
{{- define "trivium.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- $who := index . 1 -}}
{{- if $root.Values.tls.issuerRef -}}
{{ include "trivium.fullname" $root }}-{{ $who }}-tls
{{- else -}}
{{- $question := printf "tls.secrets.%s: name a Secret, or an issuer in tls.issuerRef" $who -}}
{{ required $question (index $root.Values.tls.secrets $who) }}
{{- end -}}
{{- end -}}

{{- define "trivium.certificate" -}}
{{- include "trivium.certificateOf" (list .root .process) -}}
{{- end -}}

{{/* (list root who) → cert-manager's order for a certificate that serves and calls. */}}
{{- define "trivium.certificateOf" -}}
{{- $root := index . 0 -}}
{{- $who := index . 1 -}}
{{- $tls := $root.Values.tls -}}
{{- if and $tls.enabled $tls.issuerRef -}}
{{- $fullname := include "trivium.fullname" $root -}}
{{- $names := list (printf "%s-%s" $fullname $who) -}}
{{- if eq $who "gateway" -}}
{{- $names = append $names $fullname -}}
{{- end -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "trivium.metadata" . | nindent 2 }}
spec:
  secretName: {{ include "trivium.tlsSecret" . }}
  duration: {{ $tls.duration }}
  renewBefore: {{ $tls.renewBefore }}
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  usages: [server auth, client auth]
  dnsNames:
    {{- range $names }}
    - {{ . }}.{{ $root.Release.Namespace }}.svc
    - {{ . }}.{{ $root.Release.Namespace }}.svc.cluster.local
    {{- end }}
  issuerRef:
    {{- toYaml $tls.issuerRef | nindent 4 }}
{{- end -}}
{{- end -}}
