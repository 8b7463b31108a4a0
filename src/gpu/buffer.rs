//! Device buffers that free themselves and are counted.

use std::cell::Cell;
use std::rc::Rc;

/// Device memory that Kinglet holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes held now.
    pub current: u64,
    /// The most bytes held at once.
    pub peak: u64,
    /// Buffers made so far.
    pub allocations: u64,
}

/// A device buffer; the last handle to go frees its memory at once (a browser would wait for its garbage collector).
#[derive(Clone)]
pub struct Buffer(Rc<Owned>);

struct Owned {
    raw: wgpu::Buffer,
    memory: Rc<Cell<MemoryUse>>,
}

impl Buffer {
    pub(super) fn new(raw: wgpu::Buffer, memory: Rc<Cell<MemoryUse>>) -> Self {
        let mut used = memory.get();
        used.current += raw.size();
        used.peak = used.peak.max(used.current);
        used.allocations += 1;
        memory.set(used);
        Self(Rc::new(Owned { raw, memory }))
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.0.raw
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.0.raw.size()
    }

    /// The whole buffer as a binding.
    pub fn whole(&self) -> Binding {
        self.range(0, self.size())
    }

    /// `bytes` bytes from `offset` as a binding; `offset` is a multiple of the device's storage alignment.
    pub fn range(&self, offset: u64, bytes: u64) -> Binding {
        Binding { buffer: self.clone(), offset, bytes }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut used = self.memory.get();
        used.current -= self.raw.size();
        self.memory.set(used);
        self.raw.destroy();
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.size())
    }
}

/// A run of a buffer, bound to a kernel.
#[derive(Debug, Clone)]
pub struct Binding {
    buffer: Buffer,
    offset: u64,
    bytes: u64,
}

impl Binding {
    /// Bytes bound.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn resource(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: self.buffer.raw(),
            offset: self.offset,
            size: wgpu::BufferSize::new(self.bytes),
        })
    }
}

impl From<&Buffer> for Binding {
    fn from(buffer: &Buffer) -> Self {
        buffer.whole()
    }
}
