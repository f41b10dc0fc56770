{{/*
Refuses to serve what another operator serves, for the two would undo each other's work for ever.
helm fails where it may not look, so it looks only for who makes objects of the whole cluster too:
whoever may let an operator list Deployments everywhere may do so.
*/}}
{{- define "anypod.operator.check" -}}
{{- $mine := .Values.watchNamespaces -}}
{{- $this := list .Release.Namespace .Release.Name -}}
{{- if or (not $mine) .Values.crds.enabled .Values.rbac.aggregate -}}
{{- range (lookup "apps/v1" "Deployment" "" "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $kind := list (get $labels "app.kubernetes.io/name") (get $labels "app.kubernetes.io/component") -}}
{{- $other := not (deepEqual $this (list .metadata.namespace (get $labels "app.kubernetes.io/instance"))) -}}
{{- if and (deepEqual $kind (list "anypod" "operator")) $other .spec.replicas -}}
{{- $theirs := list -}}
{{- range .spec.template.spec.containers -}}
{{- range .args -}}
{{- if hasPrefix "--namespace=" . -}}
{{- $theirs = append $theirs (trimPrefix "--namespace=" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $apart := and $mine $theirs -}}
{{- range $mine -}}
{{- $apart = and $apart (not (has . $theirs)) -}}
{{- end -}}
{{- if not $apart -}}
{{- fail (printf "watchNamespaces: the operator %s in %s serves %s already, and two of one pool undo each other's work for ever; give each release namespaces of its own, or scale that Deployment to 0 first" .metadata.name .metadata.namespace (join ", " $theirs | default "all namespaces")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
