// Package qemutest boots machines in QEMU for tests, and follows and types on their serial console.
package qemutest
