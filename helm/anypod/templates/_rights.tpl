{{/* What gateway and operator may do; tests/chart/test_rights.py says where each right is used. */}}

{{- define "anypod.gateway.rules" -}}
- apiGroups: [anypod.dev]
  resources: [workerpools]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}

{{- define "anypod.operator.rules" -}}
- apiGroups: [anypod.dev]
  resources: [workerpools]
  verbs: [get, list, watch]
- apiGroups: [anypod.dev]
  resources: [workerpools/status]
  verbs: [patch]
# Some clusters demand it of who makes a pool the owner of objects.
- apiGroups: [anypod.dev]
  resources: [workerpools/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets, serviceaccounts, services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{/* Rules to a component's service account, everywhere or in the served namespaces alone. */}}
{{- define "anypod.grant" -}}
{{- $root := .root }}
{{- $component := .component }}
{{- $rules := .rules }}
{{- /* With the release's namespace in it, for others may serve the same namespace. */}}
{{- $name := printf "%s-%s" (include "anypod.clusterName" $root) $component }}
{{- range $namespace := $root.Values.watchNamespaces | default (list "") }}
{{- $kind := ternary "ClusterRole" "Role" (empty $namespace) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ $name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "anypod.labels" (list $root $component) | nindent 4 }}
rules:
  {{- $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ $name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "anypod.labels" (list $root $component) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "anypod.fullname" $root }}-{{ $component }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end -}}
