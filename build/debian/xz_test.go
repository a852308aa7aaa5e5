package debian

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// xzStored packs data as an xz file of uncompressed LZMA2 chunks: the standard
// library and our modules can only unpack xz. (xz file format 1.2.1)
func xzStored(data []byte) []byte {
	var out bytes.Buffer
	flags := []byte{0, 1} // CRC32
	out.WriteString("\xfd7zXZ\x00")
	out.Write(withCRC(flags))

	start := out.Len()
	header := []byte{2, 0, 0x21, 1, 0x16, 0, 0, 0} // 12 bytes with its CRC, one filter: LZMA2, 8 MiB dictionary
	out.Write(withCRC(header))
	first := byte(1) // resets the dictionary
	for rest := data; len(rest) > 0; first = 2 {
		n := min(len(rest), 1<<16)
		out.Write([]byte{first, byte((n - 1) >> 8), byte(n - 1)})
		out.Write(rest[:n])
		rest = rest[n:]
	}
	out.WriteByte(0)
	unpadded := out.Len() - start + 4
	for (out.Len()-start)%4 != 0 {
		out.WriteByte(0)
	}
	binary.Write(&out, binary.LittleEndian, crc32.ChecksumIEEE(data))

	index := []byte{0, 1}
	index = binary.AppendUvarint(index, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(len(data)))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = withCRC(index)
	out.Write(index)
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	binary.Write(&out, binary.LittleEndian, crc32.ChecksumIEEE(footer))
	out.Write(footer)
	out.WriteString("YZ")
	return out.Bytes()
}

func withCRC(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.ChecksumIEEE(b))
}
