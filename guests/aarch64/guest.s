/* The workload guest for Arm `virt`: a raw image without a Linux header, which QEMU puts 512 KiB into
 * RAM and enters with the MMU off. Memory is then Device-nGnRnE: every access is aligned. */

.include "abi.inc"

.set HEADER,    0x40200000
.set UART,      0x09000000         /* PL011 */

.text
        ldr x19, =HEADER
        ldr x20, =UART
        mov w0, #0
        str w0, [x20, #0x38]       /* no interrupts */
        mov w0, #0x60
        str w0, [x20, #0x2c]       /* 8 bits, no FIFO: a byte is either here or sent */
        mov w0, #0x101
        str w0, [x20, #0x30]       /* on, transmitter on */

        adr x0, magics
        ldp x27, x28, [x0]         /* "MIGPAGE1", "MIGCOMP1" */

        /* Every page holds pass 0 before the header's magic says that there is a region. */
        mov x0, x19
        ldr x1, =HEADER + REGION_OFFSET + PAGES * PAGE_SIZE
1:      str xzr, [x0], #8
        cmp x0, x1
        b.lo 1b
        mov x23, #0
        mov x21, #0
        add x22, x19, #REGION_OFFSET
1:      mov x0, x23
        bl write
        add x22, x22, #PAGE_SIZE
        add x21, x21, #1
        cmp x21, #PAGES
        b.ne 1b

        mov w0, #ABI_VERSION
        str w0, [x19, #H_ABI]
        mov w0, #PAGE_SIZE
        str w0, [x19, #H_PAGE_SIZE]
        add x0, x19, #REGION_OFFSET
        str x0, [x19, #H_REGION]
        mov x0, #PAGES
        str x0, [x19, #H_PAGES]
        mov x0, #1 << BEAT_SHIFT
        str x0, [x19, #H_PER_BEAT]
        adr x0, name
        ldr x0, [x0]
        str x0, [x19, #H_ARCH]
        str x28, [x19, #H_MAGIC]

        adr x0, hello
        bl puts
        mov x24, #0                /* progress as the CPU remembers it */

/* x23: completed passes, which is also what every page still to be written holds;
 * x21: the page; x22: its address */
pass:   mov x21, #0
        add x22, x19, #REGION_OFFSET

page:   mov x2, #E_MAGIC
        mov x0, x27
        ldr x1, [x22, #P_MAGIC]
        bl check
        mov x2, #E_INDEX
        mov x0, x21
        ldr x1, [x22, #P_INDEX]
        bl check
        mov x2, #E_HEAD
        mov x0, x23
        ldr x1, [x22, #P_HEAD]
        bl check
        mov x2, #E_MIDDLE
        eor x0, x23, x21, lsl #32
        mvn x0, x0
        ldr x1, [x22, #P_MIDDLE]
        bl check
        mov x2, #E_TAIL
        mov x0, x23
        ldr x1, [x22, #P_TAIL]
        bl check

        add x0, x23, #1
        bl write

        mov x2, #E_PROGRESS
        mov x0, x24
        ldr x1, [x19, #H_PROGRESS]
        bl check
        add x24, x24, #1
        str x24, [x19, #H_PROGRESS]

        add x22, x22, #PAGE_SIZE
        add x21, x21, #1
        cmp x21, #PAGES
        b.ne page

        add x23, x23, #1
        tst x23, #(1 << BEAT_SHIFT) - 1
        b.ne pass
        lsr x25, x23, #BEAT_SHIFT
        str x25, [x19, #H_BEATS]
        adr x0, beat
        bl puts
        mov x0, x25
        mov x1, #32
        bl hex
        adr x0, newline
        bl puts
        b pass

/* Writes page x21 at x22 for pass x0. Uses x1. */
write:  str x27, [x22, #P_MAGIC]
        str x21, [x22, #P_INDEX]
        str x0, [x22, #P_HEAD]
        eor x1, x0, x21, lsl #32
        mvn x1, x1
        str x1, [x22, #P_MIDDLE]
        str x0, [x22, #P_TAIL]
        ret

/* Compares x0, wanted, with x1, got; x2 is the kind of the check. Keeps x19 to x28. */
check:  cmp x0, x1
        b.ne 1f
        ret
1:      mov x9, x30
        mov x10, x0
        mov x11, x1
        ldr x3, [x19, #H_ERRORS]
        add x3, x3, #1
        str x3, [x19, #H_ERRORS]
        ldr x4, [x19, #H_ERR_KIND]
        cbnz x4, 2f
        str x2, [x19, #H_ERR_KIND]
        str x21, [x19, #H_ERR_PAGE]
        str x10, [x19, #H_ERR_WANT]
        str x11, [x19, #H_ERR_GOT]
2:      cmp x3, #MAX_REPORTS
        b.hi 3f
        adr x0, text_error
        bl puts
        mov x0, x2
        mov x1, #32
        bl hex
        adr x0, text_page
        bl puts
        mov x0, x21
        mov x1, #32
        bl hex
        adr x0, text_want
        bl puts
        mov x0, x10
        mov x1, #64
        bl hex
        adr x0, text_got
        bl puts
        mov x0, x11
        mov x1, #64
        bl hex
        adr x0, newline
        bl puts
3:      ret x9

/* The text at x0, up to its zero byte. Uses x0, x3, x4. */
puts:   ldrb w3, [x0], #1
        cbz w3, 2f
1:      ldr w4, [x20, #0x18]       /* once the byte before it has left the machine: */
        tbz w4, #7, 1b             /* transmitter empty */
        str w3, [x20]
        b puts
2:      ret

/* The low x1 bits of x0 in hexadecimal. Uses x1, x3, x4. */
hex:    sub x1, x1, #4
        lsr x3, x0, x1
        and x3, x3, #15
        add x3, x3, #'0'
        cmp x3, #'9'
        b.ls 1f
        add x3, x3, #'a' - '9' - 1
1:      ldr w4, [x20, #0x18]
        tbz w4, #7, 1b
        str w3, [x20]
        cbnz x1, hex
        ret

.balign 8
magics:         .ascii "MIGPAGE1MIGCOMP1"
name:           .ascii "aarch64\0"
hello:          .asciz "S migcompat aarch64 1\n"
beat:           .asciz "B "
newline:        .asciz "\n"
text_error:     .asciz "E kind="
text_page:      .asciz " page="
text_want:      .asciz " want="
text_got:       .asciz " got="
.balign 8
