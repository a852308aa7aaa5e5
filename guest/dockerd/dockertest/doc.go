// Package dockertest runs a real dockerd for tests, by the applet under test: in a network namespace, with mounts and
// process numbers of its own, and with a registry beside it. Only tests import it.
package dockertest
