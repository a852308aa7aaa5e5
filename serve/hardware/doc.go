// Package hardware reads what a site knows of its machines: EKS Anywhere's
// hardware.csv, Tinkerbell Hardware objects, and a plain YAML of our own. In:
// files; out: Machine records, and a Store that follows the files.
//
// Open machine.go first, then store.go.
package hardware
