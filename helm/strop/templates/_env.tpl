{{/*
The environment of a container: (dict "root" $ "part" "worker" "secrets" (list "database-url" …)); "extraEnv": in place of the part's.
Each process is given the credentials that it uses and no others.
*/}}
{{- define "strop.env" -}}
{{- $names := dict
  "api-key" "STROP_API_KEY"
  "link-key" "STROP_LINK_KEY"
  "database-url" "STROP_DATABASE_URL"
  "broker-url" "STROP_BROKER_URL"
  "s3-access-key-id" "AWS_ACCESS_KEY_ID"
  "s3-secret-access-key" "AWS_SECRET_ACCESS_KEY" -}}
{{- $optional := list "link-key" "s3-access-key-id" "s3-secret-access-key" -}}
{{- range $key := .secrets }}
- name: {{ index $names $key }}
  valueFrom:
    secretKeyRef: {name: {{ $.secretName | default (include "strop.secret" $.root) }}, key: {{ $key }}{{ if has $key $optional }}, optional: true{{ end }}}
{{- end }}
{{- if has "s3-access-key-id" .secrets }}
{{- with .root.Values.store }}
- {name: STROP_STORE_URL, value: {{ .url | quote }}}
{{- with .endpointUrl }}
- {name: STROP_S3_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .publicUrl }}
- {name: STROP_S3_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
- {name: AWS_DEFAULT_REGION, value: {{ .region | quote }}}
{{- end }}
{{- end }}
{{- if and .root.Values.catalogue (ne .part "migrate") }}
- {name: STROP_CATALOGUE, value: /etc/strop/catalogue.toml}
{{- end }}
{{- /* Named: where its GPU is lost, auto would quietly go on with the CPU. */}}
{{- if and (index .root.Values .part).gpus (not (hasKey .root.Values.settings "device")) }}
- {name: STROP_DEVICE, value: cuda}
{{- end }}
{{- range $name, $value := .root.Values.settings }}
- {name: STROP_{{ upper $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- with .extraEnv | default (index .root.Values .part).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where the root is read-only, and the catalogue where there is one. */}}
{{- define "strop.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.catalogue }}
- {name: catalogue, mountPath: /etc/strop, readOnly: true}
{{- end }}
{{- end }}

{{- define "strop.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if .Values.catalogue }}
- name: catalogue
  configMap: {name: {{ include "strop.name" . }}-catalogue}
{{- end }}
{{- end }}
