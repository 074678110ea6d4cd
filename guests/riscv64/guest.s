# The workload guest for RISC-V `virt`: a raw image at the start of RAM, in machine mode, no firmware.

.include "abi.inc"

.set HEADER,    0x80200000
.set UART,      0x10000000         # 16550, one byte a register

.text
        # Hart 0 works, any other one waits for an interrupt that never comes.
        csrr t0, mhartid
1:      beqz t0, 2f
        wfi
        j 1b
2:
        li s0, HEADER
        li s1, UART
        sb zero, 1(s1)             # no interrupts
        li t0, 3
        sb t0, 3(s1)               # 8N1
        sb zero, 2(s1)             # no FIFO: a byte is either here or sent

        la t0, magics
        ld s7, 0(t0)               # "MIGPAGE1"
        ld s8, 8(t0)               # "MIGCOMP1"
        li s9, PAGE_SIZE
        li s10, PAGES

        # Every page holds pass 0 before the header's magic says that there is a region.
        mv t0, s0
        slli t1, s10, 12
        add t1, t1, s9
        add t1, t1, s0
1:      sd zero, 0(t0)
        addi t0, t0, 8
        bltu t0, t1, 1b
        li s4, 0
        li s2, 0
        add s3, s0, s9
1:      mv a0, s4
        call write
        add s3, s3, s9
        addi s2, s2, 1
        bne s2, s10, 1b

        li t0, ABI_VERSION
        sw t0, H_ABI(s0)
        sw s9, H_PAGE_SIZE(s0)
        add t0, s0, s9
        sd t0, H_REGION(s0)
        sd s10, H_PAGES(s0)
        li t0, 1 << BEAT_SHIFT
        sd t0, H_PER_BEAT(s0)
        la t0, name
        ld t0, 0(t0)
        sd t0, H_ARCH(s0)
        sd s8, H_MAGIC(s0)

        la a0, hello
        call puts
        li s5, 0                   # progress as the CPU remembers it

# s4: completed passes, which is also what every page still to be written holds;
# s2: the page; s3: its address
pass:   li s2, 0
        add s3, s0, s9

page:   li a2, E_MAGIC
        mv a0, s7
        ld a1, P_MAGIC(s3)
        call check
        li a2, E_INDEX
        mv a0, s2
        ld a1, P_INDEX(s3)
        call check
        li a2, E_HEAD
        mv a0, s4
        ld a1, P_HEAD(s3)
        call check
        li a2, E_MIDDLE
        slli a0, s2, 32
        xor a0, a0, s4
        not a0, a0
        addi t0, s3, P_MIDDLE / 2
        ld a1, P_MIDDLE / 2(t0)
        call check
        li a2, E_TAIL
        mv a0, s4
        add t0, s3, s9
        ld a1, P_TAIL - PAGE_SIZE(t0)
        call check

        addi a0, s4, 1
        call write

        li a2, E_PROGRESS
        mv a0, s5
        ld a1, H_PROGRESS(s0)
        call check
        addi s5, s5, 1
        sd s5, H_PROGRESS(s0)

        add s3, s3, s9
        addi s2, s2, 1
        bne s2, s10, page

        addi s4, s4, 1
        andi t0, s4, (1 << BEAT_SHIFT) - 1
        bnez t0, pass
        srli s6, s4, BEAT_SHIFT
        sd s6, H_BEATS(s0)
        la a0, beat
        call puts
        mv a0, s6
        li a1, 32
        call hex
        la a0, newline
        call puts
        j pass

# Writes page s2 at s3 for pass a0. Uses t0, t1.
write:  sd s7, P_MAGIC(s3)
        sd s2, P_INDEX(s3)
        sd a0, P_HEAD(s3)
        slli t0, s2, 32
        xor t0, t0, a0
        not t0, t0
        addi t1, s3, P_MIDDLE / 2
        sd t0, P_MIDDLE / 2(t1)
        add t1, s3, s9
        sd a0, P_TAIL - PAGE_SIZE(t1)
        ret

# Compares a0, wanted, with a1, got; a2 is the kind of the check. Uses everything but s0 to s10.
check:  bne a0, a1, 1f
        ret
1:      mv t6, ra
        mv t3, a0
        mv t4, a1
        ld t0, H_ERRORS(s0)
        addi t0, t0, 1
        sd t0, H_ERRORS(s0)
        ld t1, H_ERR_KIND(s0)
        bnez t1, 2f
        sd a2, H_ERR_KIND(s0)
        sd s2, H_ERR_PAGE(s0)
        sd t3, H_ERR_WANT(s0)
        sd t4, H_ERR_GOT(s0)
2:      li t1, MAX_REPORTS
        bgtu t0, t1, 3f
        la a0, text_error
        call puts
        mv a0, a2
        li a1, 32
        call hex
        la a0, text_page
        call puts
        mv a0, s2
        li a1, 32
        call hex
        la a0, text_want
        call puts
        mv a0, t3
        li a1, 64
        call hex
        la a0, text_got
        call puts
        mv a0, t4
        li a1, 64
        call hex
        la a0, newline
        call puts
3:      jr t6

# The text at a0, up to its zero byte. Uses a0, t0, t1.
puts:   lbu t0, 0(a0)
        beqz t0, 2f
1:      lbu t1, 5(s1)              # once the byte before it has left the machine
        andi t1, t1, 0x60
        addi t1, t1, -0x60
        bnez t1, 1b
        sb t0, 0(s1)
        addi a0, a0, 1
        j puts
2:      ret

# The low a1 bits of a0 in hexadecimal. Uses a1, t0, t1, t2.
hex:    addi a1, a1, -4
        srl t0, a0, a1
        andi t0, t0, 15
        addi t0, t0, '0'
        li t1, '9'
        bleu t0, t1, 1f
        addi t0, t0, 'a' - '9' - 1
1:      lbu t1, 5(s1)
        andi t1, t1, 0x60
        addi t1, t1, -0x60
        bnez t1, 1b
        sb t0, 0(s1)
        bnez a1, hex
        ret

.balign 8
magics:         .ascii "MIGPAGE1MIGCOMP1"
name:           .ascii "riscv64\0"
hello:          .asciz "S migcompat riscv64 1\n"
beat:           .asciz "B "
newline:        .asciz "\n"
text_error:     .asciz "E kind="
text_page:      .asciz " page="
text_want:      .asciz " want="
text_got:       .asciz " got="
.balign 8
