// Package servetest runs `hooksmith serve` as users do: the real program in a network namespace, against real DHCP, TFTP,
// HTTP and syslog clients, against whatever goes wrong, and against machines in QEMU from power-on to HookOS. It has
// tests only.
//
// They need root for the namespaces. Machines are booted if HOOKSMITH_BOOT names an architecture and HOOKSMITH_BOOT_DIR
// the folder of what they boot (`make boot-test`, `make boot-test-all`). Open lab_test.go for the network, then
// clients_test.go, chaos_test.go and boot_test.go.
package servetest
