# The guest of `probe.rs`: a 64 KiB firmware for a PC that shows whether, and how fast, code runs.
#
# It goes the way of every real boot, reset vector, protected mode, paging, 64-bit mode, then uses
# VEX-coded instructions where the CPU has them (kernels do, and a hypervisor that emulates instead
# of running refuses them), prints "R" on the first serial port, works, prints "D" and turns off
# through isa-debug-exit. `probe.rs` holds the bytes; its test assembles this file and compares:
#   as --64 -o probe.o probe.s && objcopy -O binary -j .text probe.o probe.bin
        .text
        .set    base, 0xf0000           # where the firmware stands, below 1 MiB
start:
        .code16
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        # Page tables at 0x1000: one entry each in PML4 and PDPT, 512 pages of 2 MiB.
        movw    $0x1000, %di
        movw    %ax, %es
        movw    $0x1800, %cx
        cld
        rep stosw
        movw    $0x2003, 0x1000
        movw    $0x3003, 0x2000
        movw    $0x3000, %di
        xorl    %eax, %eax
        movw    $512, %cx
pages:  leal    0x83(%eax), %edx
        movl    %edx, (%di)
        addl    $0x200000, %eax
        addw    $8, %di
        loop    pages
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $0x20, %eax             # PAE
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx       # EFER
        rdmsr
        orl     $0x100, %eax            # LME
        wrmsr
        lgdtl   %cs:(gdtr - start)
        movl    %cr0, %eax
        orl     $0x80000001, %eax       # PG, PE
        movl    %eax, %cr0
        ljmpl   $8, $(base + long - start)

        .code64
long:   movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x8000, %esp
        movl    $7, %eax
        xorl    %ecx, %ecx
        cpuid
        btl     $8, %ebx                # BMI2
        jnc     ready
        movl    $3, %ecx
        shlxq   %rcx, %rbx, %rax
        rorxq   $5, %rax, %rbx
        mulxq   %rax, %rbx, %rcx
ready:  movb    $'R', %al
        call    print
        # The work: arithmetic and memory, 2^27 rounds.
        movl    $0x8000000, %ecx
        movl    $0x10000, %esi
        xorl    %eax, %eax
work:   imull   $1664525, %eax, %eax
        addl    $1013904223, %eax
        movl    %eax, %edx
        shrl    $16, %edx
        andl    $0xfffc, %edx
        addl    %eax, (%rsi,%rdx)
        decl    %ecx
        jnz     work
        movb    $'D', %al
        call    print
        movw    $0xf4, %dx
        xorl    %eax, %eax
        outl    %eax, %dx
halt:   hlt
        jmp     halt

print:  movb    %al, %ah
        movw    $0x3fd, %dx
busy:   inb     %dx, %al
        testb   $0x20, %al
        jz      busy
        movb    %ah, %al
        movw    $0x3f8, %dx
        outb    %al, %dx
        ret

        .balign 8
gdt:    .quad   0
        .quad   0x00af9a000000ffff      # 64-bit code
        .quad   0x00cf92000000ffff      # data
gdtr:   .word   23
        .long   base + gdt - start
