//! Wasm modules that are too large to be written as text.

const END: u8 = 0x0b;
const I32: u8 = 0x7f;

/// A command made of functions without parameters; the first one is what is run.
pub(super) struct Module {
    /// Pages of memory that it asks for.
    pub(super) memory_pages: u32,
    /// Numbers that a block of the type 1 takes and gives.
    pub(super) block_width: usize,
    /// Bodies of its functions, each with its locals in front and without its end.
    pub(super) bodies: Vec<Vec<u8>>,
    /// One byte each, all at the same place.
    pub(super) data_segments: u32,
}

impl Module {
    /// In binary form.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let functions = self.bodies.len();
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        let numbers = [number(self.block_width), vec![I32; self.block_width]].concat();
        section(
            &mut module,
            1,
            &[&[2, 0x60, 0, 0, 0x60], &numbers[..], &numbers[..]].concat(),
        );
        let types = [number(functions), vec![0; functions]].concat();
        section(&mut module, 3, &types);
        section(
            &mut module,
            5,
            &[vec![1, 0], number(self.memory_pages as usize)].concat(),
        );
        let exports = [b"\x02\x06memory\x02\0".as_slice(), b"\x06_start\0\0"].concat();
        section(&mut module, 7, &exports);
        let mut code = number(functions);
        for body in &self.bodies {
            code.extend(number(body.len() + 1));
            code.extend_from_slice(body);
            code.push(END);
        }
        section(&mut module, 10, &code);
        if self.data_segments > 0 {
            let mut data = number(self.data_segments as usize);
            for _ in 0..self.data_segments {
                data.extend_from_slice(&[0, 0x41, 0, END, 1, b'x']);
            }
            section(&mut module, 11, &data);
        }
        module
    }
}

fn section(module: &mut Vec<u8>, id: u8, content: &[u8]) {
    module.push(id);
    module.extend(number(content.len()));
    module.extend_from_slice(content);
}

/// An unsigned number, seven bits in a byte.
pub(super) fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
