// Package check tries what stands at a hookImagesURLPath or a hookIsoURL, or
// in a folder that is to be published: it does what EKS Anywhere, Smee, iPXE,
// UEFI HTTP boot and a BMC will do with it, and looks into what they would get.
//
// In: a URL or a folder. Out: a Report, one Result for each thing that was
// tried, with the way out where it failed.
//
// Open check.go first.
package check
