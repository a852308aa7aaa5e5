// Package hardware reads what a site knows of its machines: EKS Anywhere's
// hardware.csv, Tinkerbell Hardware objects, and a plain YAML of our own. In:
// files; out: Machine records, and a Store that follows the files.
//
// Open machine.go first, then parse.go (which format is it), one file per
// format (csv.go, tinkerbell.go, smee.go, native.go), and store.go, which
// follows the files. Whatever is wrong with a file is said all at once, each
// with line, column and field; the data of before stay in use meanwhile.
package hardware
