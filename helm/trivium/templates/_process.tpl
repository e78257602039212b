{{/* (list root process) → every object of a process: none of one that writes what is only read. */}}
{{- define "trivium.process" -}}
{{- $root := index . 0 -}}
{{- $process := index . 1 -}}
{{- $values := include "trivium.values" . | fromYaml -}}
{{- $facts := include "trivium.facts" . | fromYaml -}}
{{- if not (and (eq (default "" $facts.collections) "write") (include "trivium.isReadOnly" $root)) -}}
{{- $scope := dict "root" $root "process" $process "values" $values "facts" $facts -}}
{{- if and (eq $process "indexer") (include "trivium.sharesNode" $scope) -}}
{{- $_ := set $scope "values" (include "trivium.besideRetrievers" $scope | fromYaml) -}}
{{- end -}}
{{- $_ := set $scope "name" (printf "%s-%s" (include "trivium.fullname" $root) $process) -}}
{{- $parts := list "serviceAccount" "config" "checksums" "service" "claimTemplate" "workload" -}}
{{- range $part := concat $parts (list "disruptionBudget" "autoscaler" "networkPolicy" "certificate") }}
{{- with include (printf "trivium.%s" $part) $scope | trim }}
---
{{ . }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The indexer's values where it must be on the retrievers' node: it may go wherever they may. */}}
{{- define "trivium.besideRetrievers" -}}
{{- $retriever := include "trivium.values" (list .root "retriever") | fromYaml -}}
{{- $tolerations := concat .values.tolerations $retriever.tolerations | uniq -}}
{{- $nodeSelector := mergeOverwrite (deepCopy .values.nodeSelector) $retriever.nodeSelector -}}
{{- merge (dict "tolerations" $tolerations "nodeSelector" $nodeSelector) .values | toYaml -}}
{{- end -}}

{{- define "trivium.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "trivium.metadata" (list .root .process) | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}

{{/* Headless: a client asks DNS for every replica and balances by itself, because one gRPC connection through a
cluster address would stay with one replica. The application protocol is what meshes and gateways route by:
HTTP/2 in clear text, or TLS. */}}
{{- define "trivium.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "trivium.metadata" (list .root .process) | nindent 2 }}
spec:
  type: ClusterIP
  clusterIP: None
  {{- if has .process (include "trivium.facts" (list .root "gateway") | fromYaml).calls }}
  # The gateway asks each address for its health and uses those that serve. It is to know a replica before that one is
  # ready, and a name without addresses would be asked for ever more rarely.
  publishNotReadyAddresses: true
  {{- end }}
  selector:
    {{- include "trivium.selector" (list .root .process) | nindent 4 }}
  ports:
    {{- include "trivium.grpcPort" . | nindent 4 }}
    - name: metrics
      port: {{ .facts.metricsPort }}
      targetPort: metrics
      appProtocol: http
{{- if eq .process "gateway" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "trivium.fullname" .root }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "trivium.labels" (list .root .process) | nindent 4 }}
spec:
  type: ClusterIP
  selector:
    {{- include "trivium.selector" (list .root .process) | nindent 4 }}
  ports:
    {{- include "trivium.grpcPort" . | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "trivium.grpcPort" -}}
- name: grpc
  port: {{ .facts.grpcPort }}
  targetPort: grpc
  appProtocol: {{ ternary "https" "kubernetes.io/h2c" .root.Values.tls.enabled }}
{{- end -}}

{{- define "trivium.disruptionBudget" -}}
{{- if .values.disruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "trivium.metadata" (list .root .process) | nindent 2 }}
spec:
  {{- if and (eq .process "retriever") (include "trivium.sharesNode" .) }}
  # All of them live on the node that holds the collections. A replacement cannot be elsewhere before the last has left,
  # so a budget would hold up the node's draining for ever.
  maxUnavailable: 100%
  {{- else }}
  maxUnavailable: {{ .values.disruptionBudget.maxUnavailable }}
  {{- end }}
  # A pod that never became ready does not hold up the draining of a node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "trivium.selector" (list .root .process) | nindent 6 }}
{{- end }}
{{- end -}}
