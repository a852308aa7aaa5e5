// Package drivers says which devices a HookOS has drivers for, and what is
// missing for the others.
//
// In: the root file system of an initramfs or of a kernel's modules as an
// fs.FS (Open), or the modules that a flavor selects (FromSelection); devices
// from lspci in any of its forms (ReadLspci), from PCI ids (ParsePCIList),
// from modaliases (ReadModaliases) or from /sys (ReadSysfs); a Table of what a
// complete kernel drives; and the Policy that groups modules. Out: a Report
// (Check) with one Result for each device, as a table or JSON, and the list of
// all drivers (List).
//
// Devices and modules are matched as modprobe does it: the modalias of the
// device with the patterns of modules.alias. What a listing leaves out of a
// modalias, such as the subsystem, makes a match a "maybe".
//
// Open check.go first, then match.go and artifact.go.
package drivers
