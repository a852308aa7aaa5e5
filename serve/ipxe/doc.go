// Package ipxe knows everything about iPXE that a boot server must: which
// binary a firmware can run (Rule), what a binary can do (Binaries), and the
// scripts that the binaries run (Scripts). In: what a DHCP client says of
// itself, a folder of binaries, hardware records; out: decisions with their
// reason, and script text. It opens no socket.
//
// Open rule.go first (a DISCOVER becomes a file), then auto.go (a record
// becomes a script), then autoexec.go (what a stock binary runs first).
package ipxe
