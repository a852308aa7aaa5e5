// Package oci runs containers of LinuxKit's layout: folders with config.json, the OCI runtime configuration, and
// runtime.json, LinuxKit's list of what has to be there before and after.
//
// In goes a folder below /containers, out comes a process: Load reads it, Plan turns its runtime.json into steps (mounts,
// folders, cgroups) and Apply takes them, Runc creates and starts the container. Open bundle.go first, then plan.go.
package oci
