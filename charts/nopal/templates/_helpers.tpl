{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
One cluster has one Nopal: its names are fixed, and programs and policies know the namespace.
*/}}
{{- define "nopal.namespace" -}}
{{- if ne .Release.Namespace "nopal-system" -}}
{{- fail (printf "Nopal must be installed into the namespace nopal-system, not %q: use --namespace nopal-system --create-namespace" .Release.Namespace) -}}
{{- end -}}
nopal-system
{{- end -}}

{{/* Where the hosts' heartbeats are: apart from the operator's Lease. */}}
{{- define "nopal.hostsNamespace" -}}
nopal-hosts
{{- end -}}

{{/* The finalizer of every object that leaves something on a host or in a pool. */}}
{{- define "nopal.finalizer" -}}
nopal.dev/release
{{- end -}}

{{- define "nopal.labels" -}}
app.kubernetes.io/name: nopal
app.kubernetes.io/part-of: nopal
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What selects the pods of a component: include "nopal.selectorLabels" "operator" */}}
{{- define "nopal.selectorLabels" -}}
app.kubernetes.io/name: nopal
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* include "nopal.image" (dict "root" $ "image" .Values.operator.image) */}}
{{- define "nopal.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{/* Settings that both processes know. */}}
{{- define "nopal.commonEnv" -}}
- name: NOPAL_LEASE_RENEW_SECONDS
  value: {{ .Values.lease.renewSeconds | quote }}
- name: NOPAL_RESYNC_SECONDS
  value: {{ .Values.resyncSeconds | quote }}
{{- end -}}

{{/* Environment variables of a map: include "nopal.env" .Values.operator.env */}}
{{- define "nopal.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* include "nopal.username" (dict "root" $ "account" "nopal-node"): as kube-apiserver knows it. */}}
{{- define "nopal.username" -}}
system:serviceaccount:{{ include "nopal.namespace" .root }}:{{ .account }}
{{- end -}}

{{/* The start of a policy that holds a node daemon: whom it is for, and what node it is on. */}}
{{- define "nopal.nodePolicy" -}}
failurePolicy: Fail
matchConditions:
  - name: from-a-node-daemon
    expression: request.userInfo.username == '{{ include "nopal.username" (dict "root" . "account" "nopal-node") }}'
variables:
  # kube-apiserver sets this claim from the token: it is bound to a pod, and so to its node.
  - name: node
    expression: request.userInfo.?extra[?'authentication.kubernetes.io/node-name'][?0].orValue('')
{{- end -}}
