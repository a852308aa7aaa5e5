package linuxkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// KernelOptions say what to do with a kernel image.
type KernelOptions struct {
	// Decompress takes the vmlinux out of a gzip file or a bzImage.
	Decompress bool
}

// KernelFile is the kernel or its microcode.
type KernelFile struct {
	Name string // as in the image
	Mode int64
	Size int64

	// Open returns the content; the caller closes it.
	Open func() (io.ReadCloser, error)
}

// KernelFiles is what an initramfs build needs of a LinuxKit kernel image.
// Everything else in it (System.map, dtbs.tar.gz) is left alone.
type KernelFiles struct {
	Binary  KernelFile
	UCode   *KernelFile // nil if there is none
	Tar     v1.Layer    // the tree of modules, streamed out of the image; nil if there is none
	Cmdline string
}

// maxKernel bounds what is held in memory: a decompressed kernel, microcode.
const maxKernel = 512 << 20

// KernelParts opens a kernel image as the key `kernel` says (linuxkit.md
// 1.8). The image is read as a stream, once to find its files and once for
// each file that is opened.
func KernelParts(ctx context.Context, img v1.Image, kernel Kernel, opts KernelOptions) (*KernelFiles, error) {
	binary, tarName, ucode := kernel.BinaryName(), kernel.TarName(), kernel.UCode.Value
	wanted := []string{cleanName(binary)}
	for _, name := range []string{tarName, ucode} {
		if name != "" {
			wanted = append(wanted, cleanName(name))
		}
	}
	found, err := findFiles(ctx, img, wanted...)
	if err != nil {
		return nil, kernelError(kernel, kernel.Image.Pos, err.Error(), err)
	}
	k := &KernelFiles{Cmdline: kernel.Cmdline.Value}
	file := found[cleanName(binary)]
	if file == nil {
		return nil, kernelError(kernel, kernel.Binary.Pos, fmt.Sprintf("did not find kernel in kernel image: no file %s at its root", binary), nil)
	}
	k.Binary = file.kernelFile()
	if tarName != "" {
		file := found[cleanName(tarName)]
		if file == nil {
			return nil, kernelError(kernel, kernel.Tar.Pos, fmt.Sprintf("did not find kernel tar in kernel image: no file %s at its root; write tar: none if it needs no modules", tarName), nil)
		}
		k.Tar = &fileLayer{file: file}
	}
	if ucode != "" {
		file := found[cleanName(ucode)]
		if file == nil {
			return nil, kernelError(kernel, kernel.UCode.Pos, fmt.Sprintf("did not find microcode in kernel image: no file %s at its root", ucode), nil)
		}
		f := file.kernelFile()
		k.UCode = &f
	}
	if opts.Decompress {
		if k.Binary, err = k.Binary.decompressed(); err != nil {
			return nil, kernelError(kernel, kernel.Binary.Pos, "decompressing "+binary+": "+err.Error(), err)
		}
	}
	return k, nil
}

func kernelError(kernel Kernel, pos Pos, message string, err error) error {
	if pos.Line == 0 {
		pos = kernel.Image.Pos
	}
	return &Error{Pos: pos, Where: fmt.Sprintf("kernel %.200q", kernel.Image.Value), Message: message, Err: err}
}

func (f *ImageFile) kernelFile() KernelFile {
	return KernelFile{Name: f.Name, Mode: f.Mode, Size: f.Size, Open: f.Open}
}

// decompressed returns the file with the uncompressed kernel, in memory, as
// its content.
func (f KernelFile) decompressed() (KernelFile, error) {
	if f.Size > maxKernel {
		return f, fmt.Errorf("%d bytes: more than a kernel has", f.Size)
	}
	r, err := f.Open()
	if err != nil {
		return f, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, f.Size))
	if err != nil {
		return f, err
	}
	data, err = decompressKernel(data)
	if err != nil {
		return f, err
	}
	f.Size = int64(len(data))
	f.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	return f, nil
}

// Parts returns the kernel's parts of the root file system, which stand
// before those of Layout: the folder /boot, which is there even though what
// it holds is not part of an initramfs, and the tree of modules. Members of
// kernel.tar keep their times and modes, that of / included.
func (k *KernelFiles) Parts(opts Options) ([]Part, error) {
	boot, err := NewLayer(opts.modTime(), Entry{Name: "boot/", Mode: 0o755})
	if err != nil {
		return nil, err
	}
	parts := []Part{{Location: "kernel", Name: "boot", Layers: []v1.Layer{boot}}}
	if k.Tar != nil {
		parts = append(parts, Part{Location: "kernel", Name: "modules", Layers: []v1.Layer{k.Tar}})
	}
	return parts, nil
}

// BootPart returns what LinuxKit has in /boot in formats that are one tar:
// cmdline, kernel and, if there is one, ucode.cpio.
func (k *KernelFiles) BootPart(opts Options) (Part, error) {
	entries := []Entry{
		{Name: "boot/", Mode: 0o755},
		{Name: "boot/cmdline", Mode: 0o644, Data: []byte(k.Cmdline)},
		{Name: "boot/kernel", Mode: k.Binary.Mode, Size: k.Binary.Size, Open: k.Binary.Open},
	}
	if k.UCode != nil {
		entries = append(entries, Entry{Name: "boot/ucode.cpio", Mode: k.UCode.Mode, Size: k.UCode.Size, Open: k.UCode.Open})
	}
	layer, err := NewLayer(opts.modTime(), entries...)
	return Part{Location: "kernel", Name: "boot", Layers: []v1.Layer{layer}}, err
}

// fileLayer is a tar that lies in an image, as a layer of its own.
type fileLayer struct {
	file   *ImageFile
	digest layerDigest
}

func (l *fileLayer) Digest() (v1.Hash, error) { return l.digest.of(l.Uncompressed) }
func (l *fileLayer) DiffID() (v1.Hash, error) { return l.digest.of(l.Uncompressed) }
func (l *fileLayer) Size() (int64, error)     { return l.file.Size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error) {
	return types.OCIUncompressedLayer, nil
}
func (l *fileLayer) Compressed() (io.ReadCloser, error) { return l.Uncompressed() }

// Uncompressed returns the tar, after a look at whether it is one: a
// compressed kernel.tar would otherwise be an error about a tar header.
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) {
	rc, err := l.file.Open()
	if err != nil {
		return nil, err
	}
	head := make([]byte, 6)
	n, err := io.ReadFull(rc, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		rc.Close()
		return nil, fmt.Errorf("reading %s: %w", l.file.Name, err)
	}
	if format := compressionOf(head[:n]); format != "" {
		rc.Close()
		return nil, fmt.Errorf("%s is compressed with %s: LinuxKit wants a plain tar", l.file.Name, format)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head[:n]), rc), rc}, nil
}
