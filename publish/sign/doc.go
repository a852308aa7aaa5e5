// Package sign makes and checks detached Ed25519 signatures of hook.json in
// the format of minisign (https://jedisct1.github.io/minisign/), so that its
// tool verifies ours and we verify its.
//
// hook.json has the hash of every artifact. What it does not describe (the
// SBOM, the lock file) is named with its hash in the signature's trusted
// comment, which is signed too: "documents:NAME=SHA256,NAME=SHA256". A
// signature that minisign itself made has no such list and covers the
// artifacts alone.
//
// Start in signature.go; keys are in key.go.
package sign
