{{/* Names: RELEASE-strop, or RELEASE where it says strop already. */}}
{{- define "strop.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "strop.secret" -}}
{{ .Values.existingSecret | default (include "strop.name" .) }}
{{- end }}

{{- define "strop.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "strop.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{/* (dict "root" $ "part" "worker"): what selects the pods of a part. */}}
{{- define "strop.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "strop.labels" -}}
{{ include "strop.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* (dict "root" $ "target" "gateway"): target is one of the Dockerfile's. */}}
{{- define "strop.image" -}}
{{- with .root.Values.image }}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository }}-{{ $.target }}:{{ .tag | default $.root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Pods start again when what they read at start has changed. */}}
{{- define "strop.annotations" -}}
checksum/secret: {{ include (print .root.Template.BasePath "/secret.yaml") .root | sha256sum }}
checksum/catalogue: {{ .root.Values.catalogue | sha256sum }}
{{- with (index .root.Values .part).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "strop.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "strop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The head of every pod of a part: identity, rights, where it may run. */}}
{{- define "strop.pod" -}}
{{- $ours := index .root.Values .part -}}
serviceAccountName: {{ include "strop.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "strop.podSecurity" . | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $ours.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- include "strop.where" $ours }}
{{- end }}

{{/* Of a part's values: where its pods may run. */}}
{{- define "strop.where" -}}
{{- range $where := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $ $where }}
{{ $where }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Requests and limits of a part, and its GPUs. */}}
{{- define "strop.resources" -}}
{{- $ours := index .root.Values .part -}}
{{- $limits := deepCopy ($ours.resources.limits | default dict) -}}
{{- if $ours.gpus }}{{ $_ := set $limits $ours.gpuResource $ours.gpus }}{{ end -}}
{{- toYaml (merge (dict "limits" $limits) $ours.resources) -}}
{{- end }}

{{/* A pod's cache of models: an empty folder, or a claim. */}}
{{- define "strop.cache" -}}
- name: cache
{{- with .cache }}
{{- if .existingClaim }}
  persistentVolumeClaim: {claimName: {{ .existingClaim }}}
{{- else }}
  emptyDir: {sizeLimit: {{ .sizeLimit }}}
{{- end }}
{{- end }}
{{- end }}

{{/* The address of a face that has an Ingress; nothing where it has none. */}}
{{- define "strop.url" -}}
{{- if .host }}{{ empty .tlsSecret | ternary "http" "https" }}://{{ .host }}{{ end -}}
{{- end }}
