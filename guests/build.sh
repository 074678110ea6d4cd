#!/bin/sh
# Builds a guest from its source: build.sh ARCH FILE. Exits with 3 where ARCH's assembler is missing.
set -eu
arch=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)

case $arch in
x86)     triple=x86_64-linux-gnu asflags=--32 ldflags="-m elf_i386 -Ttext=0" ;;
aarch64) triple=aarch64-linux-gnu asflags= ldflags=-Ttext=0x40080000 ;;
s390x)   triple=s390x-linux-gnu asflags=-march=z10 ldflags=-Ttext=0 ;;
ppc64)   triple=powerpc64-linux-gnu asflags=-mregnames ldflags=-Ttext=0 ;;
riscv64) triple=riscv64-linux-gnu asflags="-march=rv64gc -mno-relax" ldflags=-Ttext=0x80000000 ;;
*)       echo "build.sh: unknown architecture $arch" >&2; exit 2 ;;
esac
for tool in as ld objcopy; do
    command -v "$triple-$tool" >/dev/null || { echo "build.sh: no $triple-$tool" >&2; exit 3; }
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# shellcheck disable=SC2086 # flags are lists of words
"$triple-as" $asflags -I "$here" -o "$dir/guest.o" "$here/$arch/guest.s"
# shellcheck disable=SC2086
"$triple-ld" $ldflags -e 0 --build-id=none -o "$dir/guest.elf" "$dir/guest.o"
# Not ld --oformat=binary: RISC-V's ld refuses it.
"$triple-objcopy" -O binary -j .text "$dir/guest.elf" "$dir/guest.bin"
cat "$dir/guest.bin" >"$out"

if [ "$arch" = x86 ]; then
    # The bytes of an option ROM sum to zero: the last one, zero so far, sees to it.
    size=$(wc -c <"$out")
    sum=$(od -An -v -tu1 "$out" | awk '{ for (i = 1; i <= NF; i++) s += $i } END { print s % 256 }')
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$(printf %03o $(((256 - sum) % 256)))" |
        dd of="$out" bs=1 seek=$((size - 1)) conv=notrunc status=none
fi
