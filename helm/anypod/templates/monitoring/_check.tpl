{{/* Refuses targets that nobody may read, and alerts that would be false for it. */}}
{{- define "anypod.monitoring.check" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and $policy.enabled (not $policy.metricsFrom) -}}
{{- fail "networkPolicy.metricsFrom: monitoring needs to read metrics of operator and etcd, and nobody may; name Prometheus' pods, as in [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}], or turn networkPolicy.enabled off" -}}
{{- end -}}
{{- end -}}
