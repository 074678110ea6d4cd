# The workload guest for `pseries`, which one file starts in two ways:
#   -bios    raw at address 0 in place of SLOF, entered at 0x100: at once, nothing initialised;
#   -kernel  after SLOF, some seconds later under TCG. That takes an ELF file, so its headers are written
#            out here; SLOF enters the image at its first loaded byte, which is offset 0x100 again.
# Both enter it in real mode, big endian. The console is the first spapr-vty, through the hypervisor: unit 0 stands for it,
# wherever it is.

.include "abi.inc"

.set HEADER,    0x1000000          # above the image, below SLOF's own heap and code
.set H_PUT_TERM_CHAR, 0x58

.text
elf:    .byte 0x7f, 'E', 'L', 'F', 2, 2, 1, 0      # 64 bits, big endian
        .quad 0
        .short 2, 21               # executable, PPC64
        .long 1
        .quad 0                    # entry
        .quad 64, 0                # program headers; no sections
        .long 0
        .short 64, 56, 1, 0, 0, 0
        .long 1, 7                 # load; all rights
        .quad image - elf, 0, 0, end - image, end - image, 8
        .org elf + 0x100
image:  li r0, 0
        mtmsrd r0, 1               # no external or decrementer interrupts
        bcl 20, 31, here
here:   mflr r21
        lis r14, HEADER >> 16
        ld r19, magics - here(r21) # "MIGPAGE1"

        # Every page holds pass 0 before the header's magic says that there is a region.
        li r0, 0
        lis r3, PAGE_SIZE * (PAGES + 1) / 8 >> 16
        ori r3, r3, PAGE_SIZE * (PAGES + 1) / 8 & 0xffff
        mtctr r3
        addi r4, r14, -8
1:      stdu r0, 8(r4)
        bdnz 1b
        li r3, 0
        li r15, 0
        addi r16, r14, REGION_OFFSET
1:      bl write
        addi r16, r16, PAGE_SIZE
        addi r15, r15, 1
        cmpdi r15, PAGES
        bne 1b

        li r0, ABI_VERSION
        stw r0, H_ABI(r14)
        li r0, PAGE_SIZE
        stw r0, H_PAGE_SIZE(r14)
        addi r0, r14, REGION_OFFSET
        std r0, H_REGION(r14)
        li r0, PAGES
        std r0, H_PAGES(r14)
        li r0, 1 << BEAT_SHIFT
        std r0, H_PER_BEAT(r14)
        ld r0, name - here(r21)
        std r0, H_ARCH(r14)
        ld r0, magics + 8 - here(r21)
        std r0, H_MAGIC(r14)

        addi r22, r21, hello - here
        bl puts
        li r18, 0                  # progress as the CPU remembers it
        li r17, 0

# r17: completed passes, which is also what every page still to be written holds;
# r15: the page; r16: its address
pass:   li r15, 0
        addi r16, r14, REGION_OFFSET

page:   li r5, E_MAGIC
        mr r3, r19
        ld r4, P_MAGIC(r16)
        bl check
        li r5, E_INDEX
        mr r3, r15
        ld r4, P_INDEX(r16)
        bl check
        li r5, E_HEAD
        mr r3, r17
        ld r4, P_HEAD(r16)
        bl check
        li r5, E_MIDDLE
        sldi r3, r15, 32
        xor r3, r3, r17
        not r3, r3
        ld r4, P_MIDDLE(r16)
        bl check
        li r5, E_TAIL
        mr r3, r17
        ld r4, P_TAIL(r16)
        bl check

        addi r3, r17, 1
        bl write

        li r5, E_PROGRESS
        mr r3, r18
        ld r4, H_PROGRESS(r14)
        bl check
        addi r18, r18, 1
        std r18, H_PROGRESS(r14)

        addi r16, r16, PAGE_SIZE
        addi r15, r15, 1
        cmpdi r15, PAGES
        bne page

        addi r17, r17, 1
        andi. r0, r17, (1 << BEAT_SHIFT) - 1
        bne pass
        srdi r20, r17, BEAT_SHIFT
        std r20, H_BEATS(r14)
        addi r22, r21, beat - here
        bl puts
        mr r22, r20
        li r23, 32
        bl hex
        addi r22, r21, newline - here
        bl puts
        b pass

# Writes page r15 at r16 for pass r3. Uses r0.
write:  std r19, P_MAGIC(r16)
        std r15, P_INDEX(r16)
        std r3, P_HEAD(r16)
        sldi r0, r15, 32
        xor r0, r0, r3
        not r0, r0
        std r0, P_MIDDLE(r16)
        std r3, P_TAIL(r16)
        blr

# Compares r3, wanted, with r4, got; r5 is the kind of the check. Keeps r14 to r21.
check:  cmpd r3, r4
        beqlr
        mflr r27
        mr r28, r3
        mr r29, r4
        mr r30, r5
        ld r6, H_ERRORS(r14)
        addi r6, r6, 1
        std r6, H_ERRORS(r14)
        ld r0, H_ERR_KIND(r14)
        cmpdi r0, 0
        bne 1f
        std r5, H_ERR_KIND(r14)
        std r15, H_ERR_PAGE(r14)
        std r3, H_ERR_WANT(r14)
        std r4, H_ERR_GOT(r14)
1:      cmpdi r6, MAX_REPORTS
        bgt 2f
        addi r22, r21, text_error - here
        bl puts
        mr r22, r30
        li r23, 32
        bl hex
        addi r22, r21, text_page - here
        bl puts
        mr r22, r15
        li r23, 32
        bl hex
        addi r22, r21, text_want - here
        bl puts
        mr r22, r28
        li r23, 64
        bl hex
        addi r22, r21, text_got - here
        bl puts
        mr r22, r29
        li r23, 64
        bl hex
        addi r22, r21, newline - here
        bl puts
2:      mtlr r27
        blr

# The text at r22, up to its zero byte. Uses r22, r25, r26 and what putc uses.
puts:   mflr r25
1:      lbz r26, 0(r22)
        cmpwi r26, 0
        beq 2f
        bl putc
        addi r22, r22, 1
        b 1b
2:      mtlr r25
        blr

# The low r23 bits of r22 in hexadecimal. Uses r23, r25, r26 and what putc uses.
hex:    mflr r25
1:      addi r23, r23, -4
        srd r26, r22, r23
        andi. r26, r26, 15
        addi r26, r26, '0'
        cmpwi r26, '9'
        ble 2f
        addi r26, r26, 'a' - '9' - 1
2:      bl putc
        cmpwi r23, 0
        bne 1b
        mtlr r25
        blr

# The byte in r26, again until the hypervisor takes it. Uses r0, r3 to r12.
putc:   li r3, H_PUT_TERM_CHAR
        li r4, 0
        li r5, 1
        sldi r6, r26, 56
        li r7, 0
        sc 1
        cmpdi r3, 0
        bne putc
        blr

        .balign 8
magics:         .ascii "MIGPAGE1MIGCOMP1"
name:           .ascii "ppc64\0\0\0"
hello:          .asciz "S migcompat ppc64 1\n"
beat:           .asciz "B "
newline:        .asciz "\n"
text_error:     .asciz "E kind="
text_page:      .asciz " page="
text_want:      .asciz " want="
text_got:       .asciz " got="
        .balign 8
end:
