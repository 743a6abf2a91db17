{{/* The start of every name: the release's, and the chart's unless the release's has it. */}}
{{- define "echo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The start of the names of cluster-wide objects: the namespace tells two releases of one name apart. */}}
{{- define "echo.clustername" -}}
{{- printf "%s.%s" .Release.Namespace (include "echo.fullname" .) -}}
{{- end -}}

{{/* Labels that never change, for selectors. Argument: dict "root" $ "role" "operator" */}}
{{- define "echo.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "echo.labels" -}}
{{ include "echo.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/*
The pod of a role. Arguments: root, role, values (of the role), keys (of the Secret that this role may see), data (the volume).
One definition, so that the two cannot drift apart in what protects them.
*/}}
{{- define "echo.pod" -}}
metadata:
  labels:
    {{- include "echo.labels" . | nindent 4 }}
  {{- with .values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "echo.fullname" .root }}-{{ .role }}
  automountServiceAccountToken: true
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .role }}
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: [{{ .role }}]
      env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: ENVIRONMENT, value: {{ .root.Values.environment | quote }}}
        - {name: ECHO_LISTEN, value: "[::]:8080"}
        - {name: ECHO_GATE_LISTEN, value: "[::]:8081"}
        {{- if .data }}
        - {name: ECHO_DATA_DIR, value: /data}
        {{- end }}
        {{- if .root.Values.secretName }}
        {{- $secret := .root.Values.secretName }}
        {{- range .keys }}
        - {name: {{ . }}, valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ . }}, optional: true}}}
        {{- end }}
        {{- end }}
        {{- with .values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: http, containerPort: 8080}
        - {name: authz, containerPort: 8081}
      # Neither probe looks at the store or the API server: an outage of those must not take the kill switch away.
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 2
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      {{- if .data }}
      volumeMounts:
        - {name: data, mountPath: /data}
      {{- end }}
  {{- with .data }}
  volumes:
    - name: data
      {{- toYaml . | nindent 6 }}
  {{- end }}
  {{- with .values.podSpec }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Both ServiceAccounts, as a FlowSchema names them. */}}
{{- define "echo.subjects" -}}
- kind: ServiceAccount
  serviceAccount: {name: {{ include "echo.fullname" . }}-operator, namespace: {{ .Release.Namespace | quote }}}
- kind: ServiceAccount
  serviceAccount: {name: {{ include "echo.fullname" . }}-gate, namespace: {{ .Release.Namespace | quote }}}
{{- end -}}
