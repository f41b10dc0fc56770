{{/* What all pods have in common: the restricted profile of Pod Security admission, and placement. */}}

{{- define "anypod.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "anypod.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/*
Over nodes and zones as far as that goes, and the rest of its placement: (list $ "gateway" $gateway).
A second constraint, of zones, would turn both off where nodes have no zone: the scheduler leaves out
every node that has not all of the keys.
*/}}
{{- define "anypod.spread" -}}
{{- $zones := dict "weight" 100 "podAffinityTerm" (include "anypod.zoneMates" . | fromYaml) }}
{{- $apart := dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list $zones)) }}
{{- $values := deepCopy (index . 2) }}
{{- $_ := set $values "affinity" (mergeOverwrite $apart $values.affinity) }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    {{- include "anypod.mates" . | nindent 4 }}
{{- include "anypod.placement" $values }}
{{- end -}}

{{- define "anypod.zoneMates" -}}
topologyKey: topology.kubernetes.io/zone
{{ include "anypod.mates" . }}
{{- end -}}

{{/*
Pods of the component; of those that roll out, of one template: else those that are replaced would
drive all new ones onto one node.
*/}}
{{- define "anypod.mates" -}}
labelSelector:
  matchLabels:
    {{- include "anypod.selector" . | nindent 4 }}
{{- if ne (index . 1) "etcd" }}
matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{/* Of a component's values. */}}
{{- define "anypod.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "anypod.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A version among the labels restarts a pod at each upgrade. Those of etcd go on, as calls wait for it,
and on an emptyDir it would lose everything.
*/}}
{{- define "anypod.podMetadata" -}}
{{- $values := index . 2 -}}
labels:
  {{- include (ternary "anypod.selector" "anypod.labels" (hasPrefix "etcd" (index . 1))) . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "anypod.probe" -}}
httpGet:
  path: {{ index . 0 }}
  port: {{ index . 1 }}
timeoutSeconds: 5
{{- end -}}
