{{/* Who owns a process's replicas, where autoscaling is on. Never both of the two kinds. */}}
{{- define "trivium.autoscaler" -}}
{{- if and .facts.scaledBy .values.autoscaling.enabled -}}
{{- if eq .values.autoscaling.kind "keda" -}}
{{ include "trivium.scaledObject" . }}
{{- else -}}
{{ include "trivium.horizontalPodAutoscaler" . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "trivium.scaledObject" -}}
{{- $autoscaling := .values.autoscaling -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "trivium.metadata" (list .root .process) | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ .name }}
  minReplicaCount: {{ $autoscaling.minReplicas }}
  maxReplicaCount: {{ $autoscaling.maxReplicas }}
  advanced:
    horizontalPodAutoscalerConfig:
      {{- include "trivium.scalingBehavior" . | nindent 6 }}
  triggers:
    {{- if eq .facts.scaledBy "cpu" }}
    - type: cpu
      metricType: Utilization
      metadata:
        value: {{ $autoscaling.targetCpuPercent | quote }}
    {{- else if $autoscaling.prometheusAddress }}
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ $autoscaling.prometheusAddress }}
        query: sum(trivium_saturation{namespace="{{ .root.Release.Namespace }}",job="{{ .name }}"})
        # Without an answer the replicas stay as they are.
        ignoreNullValues: "false"
        threshold: {{ $autoscaling.targetSaturation | quote }}
    {{- else }}
    # KEDA's operator reads every ready endpoint of the headless Service, by pod address, and adds them up; the sum
    # divided by the target is the number of replicas. Its own role lets it list endpoints.
    - type: metrics-api
      metricType: AverageValue
      metadata:
        url: http://{{ .name }}.{{ .root.Release.Namespace }}.svc:{{ .facts.metricsPort }}/metrics
        format: prometheus
        valueLocation: trivium_saturation
        aggregateFromKubeServiceEndpoints: "true"
        aggregationType: sum
        targetValue: {{ $autoscaling.targetSaturation | quote }}
    {{- end }}
{{- end -}}

{{- define "trivium.horizontalPodAutoscaler" -}}
{{- $autoscaling := .values.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "trivium.metadata" (list .root .process) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ $autoscaling.minReplicas }}
  maxReplicas: {{ $autoscaling.maxReplicas }}
  metrics:
    {{- if eq .facts.scaledBy "cpu" }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ $autoscaling.targetCpuPercent }}
    {{- else }}
    - type: Pods
      pods:
        metric:
          name: trivium_saturation
        target:
          type: AverageValue
          averageValue: {{ printf "%.0fm" (mulf $autoscaling.targetSaturation 1000) }}
    {{- end }}
  {{- include "trivium.scalingBehavior" . | nindent 2 }}
{{- end -}}

{{- define "trivium.scalingBehavior" -}}
behavior:
  scaleUp:
    stabilizationWindowSeconds: {{ .values.autoscaling.scaleUpStabilizationSeconds }}
  scaleDown:
    stabilizationWindowSeconds: {{ .values.autoscaling.scaleDownStabilizationSeconds }}
    policies:
      - type: Pods
        value: 1
        periodSeconds: 60
{{- end -}}
