# The workload guest for PCs: an option ROM that takes over when the firmware is done.
#
# An option ROM needs no disk, no disk controller and no boot order, and every QEMU hands it to the
# firmware in the same way. Its init routine only hooks INT 19h (boot); the firmware goes on to
# initialise every device, write-protects its shadow, and then boots into `boot` below.

.include "abi.inc"

.set LOAD,      0x10000            # where the code runs: low RAM that is free at boot time
.set STACK,     0x20000
.set HEADER,    0x200000
.set REGION,    HEADER + REGION_OFFSET
.set ROM_SIZE,  1024
.set COM1,      0x3f8

# ASCII, little endian
.set MIGC,      0x4347494d
.set OMP1,      0x31504d4f
.set MIGP,      0x5047494d
.set AGE1,      0x31454741

.text
.code16
rom:    .byte 0x55, 0xaa
        .byte ROM_SIZE / 512
        jmp init                   # the firmware calls offset 3

init:   pushw %ds
        pushw %ax
        xorw %ax, %ax
        movw %ax, %ds
        movw $(boot - rom), 4 * 0x19
        movw %cs, 4 * 0x19 + 2
        popw %ax
        popw %ds
        lretw

boot:   cli
        cld
        # The firmware leaves A20 open; port 92h makes sure. Bit 0 would reset the machine.
        inb $0x92, %al
        orb $2, %al
        andb $0xfe, %al
        outb %al, $0x92

        # The shadow may be read-only, and devices may remap it: run from a copy in plain RAM.
        movw %cs, %ax
        movw %ax, %ds
        xorw %si, %si
        movw $(LOAD >> 4), %ax
        movw %ax, %es
        xorw %di, %di
        movw $(ROM_SIZE / 4), %cx
        rep movsl

        lgdtl %cs:(gdtr - rom)
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmpl $8, $(LOAD + protected - rom)

gdt:    .quad 0
        .quad 0x00cf9a000000ffff   # 08: code, flat 4 GiB
        .quad 0x00cf92000000ffff   # 10: data, flat 4 GiB
gdtr:   .word gdtr - gdt - 1
        .long LOAD + gdt - rom

.code32
protected:
        movl $0x10, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $STACK, %esp

        # COM1: 115200 8N1, no interrupts, no FIFO, so that a byte is either here or sent.
        movl $(LOAD + uart - rom), %esi
        movl $6, %ecx
        movl $COM1, %edx
1:      movb (%esi), %dl
        movb 1(%esi), %al
        outb %al, %dx
        addl $2, %esi
        loop 1b

        # Every page holds pass 0 before the header's magic says that there is a region.
        movl $HEADER, %edi
        xorl %eax, %eax
        movl $(PAGE_SIZE * (PAGES + 1) / 4), %ecx
        rep stosl
        xorl %ebp, %ebp
        xorl %esi, %esi
        movl $REGION, %edi
1:      call write
        addl $PAGE_SIZE, %edi
        incl %esi
        cmpl $PAGES, %esi
        jne 1b

        movl $ABI_VERSION, HEADER + H_ABI
        movl $PAGE_SIZE, HEADER + H_PAGE_SIZE
        movl $REGION, HEADER + H_REGION
        movl $PAGES, HEADER + H_PAGES
        movl $(1 << BEAT_SHIFT), HEADER + H_PER_BEAT
        movl $0x363878, HEADER + H_ARCH        # "x86"
        movl $OMP1, HEADER + H_MAGIC + 4
        movl $MIGC, HEADER + H_MAGIC

        movl $(LOAD + hello - rom), %ebx
        call puts

# %ebp: completed passes, which is also what every page still to be written holds;
# %esi: the page; %edi: its address. 32 bits of passes last for weeks.
pass:   xorl %esi, %esi
        movl $REGION, %edi

page:   movl $MIGP, %ebx
        movl $AGE1, %ecx
        movl P_MAGIC(%edi), %eax
        movl P_MAGIC + 4(%edi), %edx
        pushl $E_MAGIC
        call check
        movl %esi, %ebx
        xorl %ecx, %ecx
        movl P_INDEX(%edi), %eax
        movl P_INDEX + 4(%edi), %edx
        pushl $E_INDEX
        call check
        movl %ebp, %ebx
        movl P_HEAD(%edi), %eax
        movl P_HEAD + 4(%edi), %edx
        pushl $E_HEAD
        call check
        movl P_TAIL(%edi), %eax
        movl P_TAIL + 4(%edi), %edx
        pushl $E_TAIL
        call check
        notl %ebx
        movl %esi, %ecx
        notl %ecx
        movl P_MIDDLE(%edi), %eax
        movl P_MIDDLE + 4(%edi), %edx
        pushl $E_MIDDLE
        call check

        incl %ebp
        call write
        decl %ebp

        # Progress = passes * PAGES + page. CMPXCHG8B stores all of it at once, and only if the header
        # still holds what the CPU remembers; else %edx:%eax is what it holds.
        movl %ebp, %eax
        movl %ebp, %edx
        shll $PAGES_SHIFT, %eax
        shrl $(32 - PAGES_SHIFT), %edx
        addl %esi, %eax
        movl %eax, %ebx
        movl %edx, %ecx
        addl $1, %ebx
        adcl $0, %ecx
        cmpxchg8b HEADER + H_PROGRESS
        je 1f
        movl %ebx, HEADER + H_PROGRESS
        movl %ecx, HEADER + H_PROGRESS + 4
        subl $1, %ebx
        sbbl $0, %ecx
        pushl $E_PROGRESS
        call check

1:      addl $PAGE_SIZE, %edi
        incl %esi
        cmpl $PAGES, %esi
        jne page

        incl %ebp
        testl $((1 << BEAT_SHIFT) - 1), %ebp
        jnz pass
        movl %ebp, %eax
        shrl $BEAT_SHIFT, %eax
        movl %eax, HEADER + H_BEATS
        movb $'B', %al
        call putc
        movb $' ', %al
        call putc
        movl HEADER + H_BEATS, %eax
        call hex
        call newline
        jmp pass

# Writes page %esi at %edi for pass %ebp.
write:  movl $MIGP, P_MAGIC(%edi)
        movl $AGE1, P_MAGIC + 4(%edi)
        movl %esi, P_INDEX(%edi)
        movl $0, P_INDEX + 4(%edi)
        movl %ebp, P_HEAD(%edi)
        movl $0, P_HEAD + 4(%edi)
        movl %ebp, %eax
        notl %eax
        movl %esi, %edx
        notl %edx
        movl %eax, P_MIDDLE(%edi)
        movl %edx, P_MIDDLE + 4(%edi)
        movl %ebp, P_TAIL(%edi)
        movl $0, P_TAIL + 4(%edi)
        ret

# Compares got %edx:%eax with want %ecx:%ebx; the kind of the check is on the stack. Keeps all but
# %eax and %edx.
check:  cmpl %ebx, %eax
        jne 1f
        cmpl %ecx, %edx
        jne 1f
        ret $4
1:      addl $1, HEADER + H_ERRORS
        adcl $0, HEADER + H_ERRORS + 4
        cmpl $0, HEADER + H_ERR_KIND
        jne 2f
        pushl 4(%esp)
        popl HEADER + H_ERR_KIND
        movl %esi, HEADER + H_ERR_PAGE
        movl %ebx, HEADER + H_ERR_WANT
        movl %ecx, HEADER + H_ERR_WANT + 4
        movl %eax, HEADER + H_ERR_GOT
        movl %edx, HEADER + H_ERR_GOT + 4
2:      cmpl $MAX_REPORTS, HEADER + H_ERRORS
        ja 3f
        pushl %ebx
        pushl %eax                 # got, low
        pushl %edx                 # got, high
        pushl %ebx                 # want, low
        pushl %ecx                 # want, high
        pushl %esi
        movl $(LOAD + text_error - rom), %ebx
        call puts
        movl 28(%esp), %eax        # the kind
        call hex
        movl $(LOAD + text_page - rom), %ebx
        call puts
        popl %eax
        call hex
        movl $(LOAD + text_want - rom), %ebx
        call puts
        popl %eax
        call hex
        popl %eax
        call hex
        movl $(LOAD + text_got - rom), %ebx
        call puts
        popl %eax
        call hex
        popl %eax
        call hex
        call newline
        popl %ebx
3:      ret $4

# The text at %ebx, up to its zero byte. Uses %eax, %ebx.
puts:   movb (%ebx), %al
        testb %al, %al
        jz 1f
        call putc
        incl %ebx
        jmp puts
1:      ret

# %eax as eight hexadecimal digits. Uses %eax.
hex:    pushl %ecx
        pushl %edx
        movl %eax, %edx
        movl $8, %ecx
1:      roll $4, %edx
        movb %dl, %al
        andb $15, %al
        addb $'0', %al
        cmpb $'9', %al
        jbe 2f
        addb $('a' - '9' - 1), %al
2:      call putc
        loop 1b
        popl %edx
        popl %ecx
        ret

newline:
        movb $'\n', %al

# The byte in %al, once the one before it has left the machine. Keeps every register.
putc:   pushl %edx
        pushl %eax
        movl $(COM1 + 5), %edx
1:      inb %dx, %al
        andb $0x60, %al
        cmpb $0x60, %al
        jne 1b
        popl %eax
        movl $COM1, %edx
        outb %al, %dx
        popl %edx
        ret

# Port (low byte) and value
uart:   .byte 0xf9, 0x00           # no interrupts
        .byte 0xfb, 0x80           # divisor 1
        .byte 0xf8, 0x01
        .byte 0xf9, 0x00
        .byte 0xfb, 0x03           # 8N1
        .byte 0xfa, 0x00           # no FIFO

hello:          .asciz "S migcompat x86 1\n"
text_error:     .asciz "E kind="
text_page:      .asciz " page="
text_want:      .asciz " want="
text_got:       .asciz " got="

# build.sh puts into the last byte what makes all bytes sum to zero.
        .org rom + ROM_SIZE
