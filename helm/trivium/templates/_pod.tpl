{{/* (list root values) → what every pod of the chart has, those of Jobs and tests too. */}}
{{- define "trivium.podDefaults" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
automountServiceAccountToken: false
# Kubernetes would otherwise put variables with our processes' prefixes into the environment, which they refuse.
enableServiceLinks: false
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $root.Values.runAsUser }}
  runAsUser: {{ int . }}
  runAsGroup: {{ int . }}
  fsGroup: {{ int . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "trivium.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Everything that a process may write to, and what it reads. */}}
{{- define "trivium.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .facts.hasModel }}
- name: cache
  mountPath: /cache
- name: shm
  mountPath: /dev/shm
{{- end }}
{{- include "trivium.sourceMounts" . }}
{{- if and .facts.collections (not (include "trivium.isReadOnly" .root)) }}
- name: collections
  mountPath: /collections
  {{- if eq .facts.collections "read" }}
  readOnly: true
  {{- end }}
{{- end }}
{{- if .root.Values.tls.enabled }}
- name: tls
  mountPath: /tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "trivium.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .values.scratch.tmp }}
{{- if .facts.hasModel }}
- name: cache
  emptyDir:
    sizeLimit: {{ .values.scratch.cache }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .values.scratch.shm }}
{{- end }}
{{- include "trivium.sourceVolumes" . }}
{{- if and .facts.collections (not (include "trivium.isReadOnly" .root)) }}
- name: collections
  persistentVolumeClaim:
    claimName: {{ include "trivium.collectionsClaim" .root }}
{{- end }}
{{- if .root.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "trivium.tlsSecret" (list .root .process) }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "trivium.collectionsClaim" -}}
{{- .Values.collections.existingClaim | default (printf "%s-collections" (include "trivium.fullname" .)) -}}
{{- end -}}
