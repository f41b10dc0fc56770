{{/* Whether the chart's own etcd is installed: "true" or nothing. */}}
{{- define "anypod.etcd.own" -}}
{{- if not .Values.etcd.external.endpoints }}true{{ end -}}
{{- end -}}

{{- define "anypod.etcd.hasSnapshots" -}}
{{- $etcd := .Values.etcd -}}
{{- if and (include "anypod.etcd.own" .) $etcd.snapshots.enabled (or $etcd.persistence.enabled $etcd.snapshots.volume) }}true{{ end -}}
{{- end -}}

{{/* The domain of the members' own names. */}}
{{- define "anypod.etcd.domain" -}}
{{ include "anypod.etcd.name" . }}-members.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "anypod.etcd.cluster" -}}
{{- $members := list -}}
{{- range $number := until (int .Values.etcd.members) -}}
{{- $name := printf "%s-%d" (include "anypod.etcd.name" $) $number -}}
{{- $members = append $members (printf "%s=https://%s.%s:2380" $name $name (include "anypod.etcd.domain" $)) -}}
{{- end -}}
{{- join "," $members -}}
{{- end -}}

{{/* Refuses what would lose data or not start. */}}
{{- define "anypod.etcd.check" -}}
{{- $etcd := .Values.etcd -}}
{{- if and (eq (int $etcd.members) 3) (not $etcd.persistence.enabled) -}}
{{- fail "etcd.members: 3 members need etcd.persistence.enabled, for a member whose data is gone does not join the others again by itself; take 1 member, or turn persistence on" -}}
{{- end -}}
{{- if and $etcd.persistence.enabled (lt (include "anypod.bytes" $etcd.persistence.size | int64) (int64 $etcd.quotaBytes)) -}}
{{- fail (printf "etcd.persistence.size: %s has no room for etcd.quotaBytes, which is %d; a full volume is worse than a full quota" $etcd.persistence.size (int64 $etcd.quotaBytes)) -}}
{{- end -}}
{{- with lookup "apps/v1" "StatefulSet" .Release.Namespace (include "anypod.etcd.name" .) -}}
{{- if not (has (int .spec.replicas) (list 0 (int $etcd.members))) -}}
{{- fail (printf "etcd.members: there are %d, and their number is fixed once installed; docs/install.md says how to move the data" (int .spec.replicas)) -}}
{{- end -}}
{{- include "anypod.etcd.checkClaims" (list . $etcd.persistence) -}}
{{- end -}}
{{- end -}}

{{/*
Refuses before anything has changed what no StatefulSet takes, when all beside it would be there
already: (list $statefulSet .Values.etcd.persistence).
*/}}
{{- define "anypod.etcd.checkClaims" -}}
{{- $there := index . 0 -}}
{{- $asked := index . 1 -}}
{{- $claims := dig "spec" "volumeClaimTemplates" list $there -}}
{{- $fixed := "and that is fixed once installed; docs/install.md says how to change it (Upgrade)" -}}
{{- if ne $asked.enabled (not (empty $claims)) -}}
{{- fail (printf "etcd.persistence.enabled: etcd was installed with %t, %s. Where nothing needs to be kept: kubectl delete statefulset --namespace %s %s, and once more" (not $asked.enabled) $fixed $there.metadata.namespace $there.metadata.name) -}}
{{- end -}}
{{- range $claims -}}
{{- $size := .spec.resources.requests.storage -}}
{{- if ne (include "anypod.bytes" $size) (include "anypod.bytes" $asked.size) -}}
{{- fail (printf "etcd.persistence.size: etcd was installed with %s, %s" $size $fixed) -}}
{{- end -}}
{{- $class := dig "spec" "storageClassName" "" . -}}
{{- if ne $class $asked.storageClassName -}}
{{- fail (printf "etcd.persistence.storageClassName: etcd was installed with %q, %s" $class $fixed) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The same for the claim of snapshots: all else would be upgraded, and Jobs be left that the release
forgets. Whether it may grow, its class says.
*/}}
{{- define "anypod.etcd.checkSnapshots" -}}
{{- $asked := .Values.etcd.snapshots -}}
{{- with lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "%s-snapshots" (include "anypod.etcd.name" .)) -}}
{{- $size := .spec.resources.requests.storage -}}
{{- if lt (include "anypod.bytes" $asked.size | int64) (include "anypod.bytes" $size | int64) -}}
{{- fail (printf "etcd.snapshots.size: the claim has %s, and cannot become smaller; docs/install.md says how to make it anew (Upgrade)" $size) -}}
{{- end -}}
{{- $class := .spec.storageClassName | default "" -}}
{{- if and $asked.storageClassName (ne $asked.storageClassName $class) -}}
{{- fail (printf "etcd.snapshots.storageClassName: the claim has %q, and keeps it; docs/install.md says how to make it anew (Upgrade)" $class) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of a size such as 8Gi. */}}
{{- define "anypod.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "..$" .)) -}}
{{- end -}}

{{/* Of what each container of a snapshot pod does. */}}
{{- define "anypod.etcd.snapshotResources" -}}
requests:
  cpu: 10m
  memory: 32Mi
limits:
  memory: 256Mi
{{- end -}}

{{/* A container that forgets the oldest: (list $ NAME). */}}
{{- define "anypod.etcd.forget" -}}
{{- $root := index . 0 -}}
- name: {{ index . 1 }}
  image: {{ include "anypod.image" (list $root $root.Values.image) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command: [python, -P, -c]
  args:
    - |
      {{- $root.Files.Get "files/forget_snapshots.py" | nindent 6 }}
    - /snapshots
    - {{ $root.Values.etcd.snapshots.keep | quote }}
  resources:
    {{- include "anypod.etcd.snapshotResources" . | nindent 4 }}
  securityContext:
    {{- include "anypod.containerSecurity" . | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - name: snapshots
      mountPath: /snapshots
{{- end -}}

{{/* The pod that takes a snapshot and forgets the oldest: for the CronJob, and at each install and upgrade. */}}
{{- define "anypod.etcd.snapshotPod" -}}
{{- $etcd := .Values.etcd -}}
metadata:
  {{- include "anypod.podMetadata" (list . "etcd-snapshot" $etcd) | nindent 2 }}
spec:
  serviceAccountName: {{ include "anypod.etcd.name" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- include "anypod.pullSecrets" . | nindent 2 }}
  restartPolicy: OnFailure
  securityContext:
    {{- include "anypod.podSecurity" . | nindent 4 }}
  {{- include "anypod.placement" $etcd | nindent 2 }}
  initContainers:
    # Before it too, for a volume that is full takes no other.
    {{- include "anypod.etcd.forget" (list . "make-room") | nindent 4 }}
    - name: save
      image: {{ include "anypod.image" (list . $etcd.image) }}
      imagePullPolicy: {{ $etcd.image.pullPolicy }}
      command:
        - etcdctl
        - --endpoints=https://{{ include "anypod.etcd.name" . }}.{{ .Release.Namespace }}.svc:2379
        - --cacert=/etc/anypod/etcd/ca.crt
        - --cert=/etc/anypod/etcd/snapshot.crt
        - --key=/etc/anypod/etcd/snapshot.key
        - snapshot
        - save
        - /snapshots/$(POD_NAME).db
      env:
        - name: ETCDCTL_API
          value: "3"
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
      resources:
        {{- include "anypod.etcd.snapshotResources" . | nindent 8 }}
      securityContext:
        {{- include "anypod.containerSecurity" . | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
      volumeMounts:
        - name: snapshots
          mountPath: /snapshots
        - name: etcd-tls
          mountPath: /etc/anypod/etcd
          readOnly: true
  containers:
    {{- include "anypod.etcd.forget" (list . "forget") | nindent 4 }}
  volumes:
    - name: snapshots
      {{- if $etcd.snapshots.volume }}
      {{- toYaml $etcd.snapshots.volume | nindent 6 }}
      {{- else }}
      persistentVolumeClaim:
        claimName: {{ include "anypod.etcd.name" . }}-snapshots
      {{- end }}
    - name: etcd-tls
      secret:
        secretName: {{ include "anypod.etcd.tlsSecret" . }}
        defaultMode: 0440
        items:
          {{- range list "ca.crt" "snapshot.crt" "snapshot.key" }}
          - key: {{ . }}
            path: {{ . }}
          {{- end }}
{{- end -}}
