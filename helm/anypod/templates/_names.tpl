{{/* How things are called and labelled. */}}

{{- define "anypod.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 36 characters: with `-etcd-snapshot` a CronJob's has 50, and may have 52. */}}
{{- define "anypod.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- else if contains (include "anypod.name" .) .Release.Name -}}
{{- .Release.Name | trunc 36 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "anypod.name" .) | trunc 36 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of what belongs to no namespace: two releases of one name in two namespaces do not clash. */}}
{{- define "anypod.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "anypod.fullname" .) -}}
{{- end -}}

{{/* By which a component's pods are selected: (list $ "gateway"). Never changes. */}}
{{- define "anypod.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: anypod
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "anypod.labels" -}}
{{- $root := index . 0 -}}
{{ include "anypod.selector" . }}
app.kubernetes.io/part-of: anypod
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "anypod.linkKeySecret" -}}
{{- default (printf "%s-link-key" (include "anypod.fullname" .)) .Values.linkKey.existingSecret -}}
{{- end -}}

{{- define "anypod.apiKeysSecret" -}}
{{- default (printf "%s-api-keys" (include "anypod.fullname" .)) .Values.authentication.apiKeys.existingSecret -}}
{{- end -}}

{{- define "anypod.etcd.name" -}}
{{- printf "%s-etcd" (include "anypod.fullname" .) -}}
{{- end -}}

{{- define "anypod.etcd.tlsSecret" -}}
{{- default (printf "%s-tls" (include "anypod.etcd.name" .)) .Values.etcd.tls.existingSecret -}}
{{- end -}}

{{/* The namespace of the pool that `helm test` makes: one that is served. */}}
{{- define "anypod.test.namespace" -}}
{{- $watched := .Values.watchNamespaces -}}
{{- if or (empty $watched) (has .Release.Namespace $watched) -}}
{{- .Release.Namespace -}}
{{- else -}}
{{- first $watched -}}
{{- end -}}
{{- end -}}

{{/* Registry, repository, tag or digest: (list $ .Values.image). */}}
{{- define "anypod.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- if $root.Values.imageRegistry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" $root.Values.imageRegistry) $name -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}
