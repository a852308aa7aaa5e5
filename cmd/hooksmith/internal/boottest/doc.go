// Package boottest boots built artifacts in QEMU and follows their serial console. It has tests only.
//
// `make boot-test` builds what is booted and sets HOOKSMITH_BOOT to its architecture and HOOKSMITH_BOOT_DIR to its
// folder; without them the boots are skipped, so that `go test ./...` stays quick. Every serial log is kept in the
// folder as serial-TEST.log. Open boot_test.go for what is asserted, internal/qemutest for how.
package boottest
