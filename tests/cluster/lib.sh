# What `apiserver`, `up` and `node` have in common: certificates, kubeconfig
# files, and waiting for an API server. They source this file; `say` and `die`
# name the script that does.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
die() { say "tests/cluster/${0##*/}: $*"; exit 1; }

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || die "\`$program\` is wanted in PATH"
    done
}

random_token() { openssl rand -hex 16; }

# openssl_config NAMES: what the certificates below hold. It is a file because
# the options that could say the same differ between OpenSSL and LibreSSL.
openssl_config() {
    cat <<EOF
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
authorityKeyIdentifier = keyid
subjectAltName = ${1:-DNS:unused}
EOF
}

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# make_authority DIR: a certificate authority, ca.crt and ca.key.
make_authority() {
    openssl_config >"$1/openssl.conf"
    new_key "$1/ca.key"
    openssl req -new -x509 -config "$1/openssl.conf" -extensions authority -days 3650 \
        -subj /CN=tidegate-test-ca -key "$1/ca.key" -out "$1/ca.crt"
}

# make_certificate DIR NAME SUBJECT NAMES: a certificate of that authority,
# NAME.crt and NAME.key.
make_certificate() {
    openssl_config "$4" >"$1/openssl.conf"
    new_key "$1/$2.key"
    openssl req -new -config "$1/openssl.conf" -subj "$3" -key "$1/$2.key" -out "$1/$2.csr"
    openssl x509 -req -in "$1/$2.csr" -CA "$1/ca.crt" -CAkey "$1/ca.key" -CAcreateserial \
        -days 3650 -extfile "$1/openssl.conf" -extensions leaf -out "$1/$2.crt" 2>/dev/null
    rm "$1/$2.csr"
}

# make_pki DIR ADDRESS...: all that an API server needs: its authority, its
# serving certificate for the addresses, and the key that signs the tokens of
# service accounts (RSA, as in most clusters).
make_pki() {
    local dir=$1 address
    local names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default
    names+=,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
    shift
    for address in "$@"; do names+=,IP:$address; done
    openssl genrsa -out "$dir/accounts.key" 2048 2>/dev/null &
    make_authority "$dir"
    make_certificate "$dir" apiserver /CN=kube-apiserver "$names"
    wait $!
}

# write_kubeconfig FILE URL AUTHORITY TOKEN
write_kubeconfig() {
    (
        umask 077
        cat >"$1" <<EOF
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: $2
    certificate-authority-data: $(openssl base64 -A -in "$3")
users:
- name: test
  user:
    token: $4
contexts:
- name: test
  context:
    cluster: test
    user: test
current-context: test
EOF
    )
}

# server_answers URL AUTHORITY TOKEN: true once the server is ready for use:
# its own checks pass and the namespace that everyone has is there.
server_answers() {
    local path
    for path in /readyz /api/v1/namespaces/default; do
        curl --silent --fail --noproxy '*' --max-time 2 --output /dev/null \
            --cacert "$2" --header "Authorization: Bearer $3" "$1$path" || return 1
    done
}

# audit_flags DIR: the flags that make the server write an audit log to the
# file that TIDEGATE_AUDIT_LOG names, one line for every request.
audit_flags() {
    [[ -n ${TIDEGATE_AUDIT_LOG:-} ]] || return 0
    cat >"$1/audit.yaml" <<EOF
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
EOF
    printf '%s\n' "--audit-policy-file=$1/audit.yaml" "--audit-log-path=$TIDEGATE_AUDIT_LOG"
}

# node_names DIR: sets `dir`, and `id`: the one name of everything of that node
# outside of its directory (processes, cgroups, network link).
node_names() {
    dir=$(realpath -m "$1")
    id=tidegate-$(printf '%s' "$dir" | sha256sum | cut -c 1-8)
}

# node_processes: the processes that have `id` as an argument: while the node
# runs, the one that holds its namespaces and, inside, its first.
node_processes() {
    # As an argument of grep the name would find grep.
    grep -lzxF -f <(printf '%s\n' "$id") /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3
}

# node_process: the one that holds the namespaces; false if the node doesn't run.
node_process() {
    local pid
    for pid in $(node_processes); do
        if [[ -e /proc/$pid/ns/pid && $(stat -Lc %i "/proc/$pid/ns/pid") \
            != $(stat -Lc %i "/proc/$pid/ns/pid_for_children") ]]; then
            printf '%s\n' "$pid"
            return
        fi
    done
    return 1
}
