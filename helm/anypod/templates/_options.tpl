{{/* The options of gateway and operator: one place for what their command lines are told. */}}

{{- define "anypod.gateway.options" -}}
{{- $etcd := .Values.etcd -}}
- --kubernetes
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
- --namespace={{ .Release.Namespace }}
- --name=$(POD_NAME)
- --listen=0.0.0.0:8700
- --store={{ include "anypod.store" . }}
{{- if not $etcd.external.endpoints }}
- --etcd-ca=/etc/anypod/etcd/ca.crt
- --etcd-cert=/etc/anypod/etcd/gateway.crt
- --etcd-key=/etc/anypod/etcd/gateway.key
{{- else }}
{{- if $etcd.external.tlsSecret }}
- --etcd-ca=/etc/anypod/etcd/ca.crt
{{- with $etcd.external.serverName }}
- --etcd-server-name={{ . }}
{{- end }}
{{- if $etcd.external.clientCertificate }}
- --etcd-cert=/etc/anypod/etcd/tls.crt
- --etcd-key=/etc/anypod/etcd/tls.key
{{- end }}
{{- end }}
{{- if $etcd.external.userSecret }}
- --etcd-user=$(ETCD_USER)
- --etcd-password-file=/etc/anypod/etcd-user/password
{{- end }}
{{- end }}
- --link-token-file=/etc/anypod/link/key
{{- if .Values.authentication.enabled }}
- --api-keys=/etc/anypod/api-keys
{{- if .Values.authentication.kubernetesTokens }}
- --kubernetes-tokens
{{- with .Values.authentication.tokenAudience }}
- --token-audience={{ . }}
{{- end }}
{{- end }}
{{- else }}
- --no-authentication
{{- end }}
{{- if .Values.gateway.webhooks.secret }}
- --webhook-secrets=/etc/anypod/webhooks
{{- range .Values.workers.clusterNetworks }}
- --cluster-network={{ . }}
{{- end }}
{{- end }}
# Until no proxy sends anything here any more, and no connection is kept alive.
- --linger-seconds=5
- --drain-seconds={{ .Values.gateway.drainSeconds }}
- --log-format={{ .Values.gateway.logFormat }}
{{- range .Values.gateway.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "anypod.store" -}}
{{- with .Values.etcd.external.endpoints -}}
etcd://{{ join "," . }}
{{- else -}}
etcd://{{ include "anypod.etcd.name" . }}.{{ .Release.Namespace }}.svc:2379
{{- end -}}
{{- end -}}

{{- define "anypod.operator.options" -}}
- --worker-image={{ include "anypod.image" (list . .Values.workers.image) }}
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
- --home={{ .Release.Namespace }}
{{- range $who := list "gateway" "operator" }}
{{- range $key, $value := include "anypod.selector" (list $ $who) | fromYaml }}
- --{{ $who }}-label={{ $key }}={{ $value }}
{{- end }}
{{- end }}
- --pool-url={{ include "anypod.poolUrl" . }}
- --dns-namespace={{ .Values.workers.dns.namespace }}
{{- range $key, $value := .Values.workers.dns.labels }}
- --dns-label={{ $key }}={{ $value }}
{{- end }}
{{- range .Values.workers.clusterNetworks }}
- --cluster-network={{ . }}
{{- end }}
- --link-key-file=/etc/anypod/link/key
- --listen=0.0.0.0:8080
- --log-format={{ .Values.operator.logFormat }}
{{- range .Values.operator.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "anypod.gatewayUrl" -}}
{{- $port := int .Values.gateway.service.port -}}
http://{{ include "anypod.fullname" . }}-gateway.{{ .Release.Namespace }}.svc{{ if ne $port 80 }}:{{ $port }}{{ end }}
{{- end -}}

{{- define "anypod.poolUrl" -}}
{{ include "anypod.gatewayUrl" . }}/v1/pools/{pool}
{{- end -}}
