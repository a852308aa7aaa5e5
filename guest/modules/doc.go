// Package modules loads kernel modules: those that devices ask for, those of a list, and what they depend on.
//
// In go the text files that depmod leaves in /lib/modules/RELEASE (modules.dep, modules.alias, modules.softdep), the
// rules of modprobe.d(5) and of the kernel command line, and modaliases from sysfs or from uevents; out come
// finit_module(2) calls in the right order. Modules stay compressed on disk: the kernel unpacks them itself.
//
// Open loader.go first, then plug.go (coldplug and hot-plug); index.go, alias.go and policy.go are the formats.
package modules
