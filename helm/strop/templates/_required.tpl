{{/* What cannot be guessed. Each missing value ends the rendering with a sentence that says what to set. */}}
{{- define "strop.required" -}}
{{- $else := "or name a Secret that has it in existingSecret" -}}
{{- with .Values }}
{{- if not .existingSecret }}
{{- if lt (len .apiKey) 16 }}{{ fail (print "strop: apiKey is missing or shorter than 16 characters: set the key that callers will send, " $else) }}{{ end }}
{{- if not .database.url }}{{ fail (print "strop: database.url is missing: set it to postgresql://USER:PASSWORD@HOST:5432/DATABASE, " $else) }}{{ end }}
{{- if not .broker.url }}{{ fail (print "strop: broker.url is missing: set it to redis://:PASSWORD@HOST:6379/0, " $else) }}{{ end }}
{{- if ne (empty .store.accessKeyId) (empty .store.secretAccessKey) }}{{ fail "strop: store.accessKeyId and store.secretAccessKey go together: set both, or neither to use the service account's identity" }}{{ end }}
{{- if and .linkKey (lt (len .linkKey) 16) }}{{ fail "strop: linkKey is shorter than 16 characters: make it longer, or leave it empty to have it derived from apiKey" }}{{ end }}
{{- else if or .apiKey .linkKey .database.url .broker.url .store.accessKeyId .store.secretAccessKey }}
{{- fail "strop: existingSecret is named, so credentials given beside it would be ignored: leave apiKey, linkKey, database.url, broker.url and store's keys empty" }}
{{- end }}
{{- if not .store.url }}{{ fail "strop: store.url is missing: set it to s3://BUCKET, and store.endpointUrl where it is not AWS" }}{{ end }}
{{- end }}
{{- end }}
