// Package linuxkit reads LinuxKit YAML and lays out what it describes.
//
// In: one or more LinuxKit files (Parse) and something that finds images
// (Resolver). Out: a list of Parts (Layout), each a stack of v1.Layers and the
// directory it goes to, in the order in which they win over one another;
// config.json and runtime.json of every container are generated layers among
// them. KernelParts opens a LinuxKit kernel image in the same currency, and
// Lint says where LinuxKit itself would have done something else.
//
// The behaviour is that of `linuxkit build` v1.8.2, except where that is a
// bug: then the documented thing is done, a Lint rule names the case, and
// Options.Compat asks for the bug.
//
// Open layout.go first, then schema.go (the keys), merge.go (label over image
// configuration) and spec.go (config.json).
package linuxkit
