//! A pickled state_dict, read without running it.
//!
//! Pickle is a program for a small stack machine (Python's pickletools describes it). Of its instructions this machine knows those that
//! make containers, texts and numbers; of the functions that a program may call, the few that rebuild tensors. Anything else is refused by
//! name. Values live in one table and refer to each other by number: nothing recurses, however a program nests them, and memory is
//! bounded by the program's length.

use std::collections::HashMap;

/// Longest program: about 100 bytes a tensor are usual.
pub(super) const MAX_BYTES: u64 = 8 << 20;
/// Most values that are not small; a tensor takes about six.
const MAX_NODES: usize = 1 << 20;
const MAX_TENSORS: usize = 1 << 17;
/// Longest name of a tensor, a storage or a function.
const MAX_NAME_BYTES: usize = 256;
const MAX_DIMENSIONS: usize = 8;

/// A tensor as a program describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    /// Name of the storage's file, in the archive's folder `data`.
    pub storage: String,
    /// The numbers' type in safetensors' words.
    pub dtype: &'static str,
    /// First number in the storage.
    pub offset: u64,
    /// How many numbers the storage has.
    pub storage_numbers: u64,
    pub shape: Vec<u64>,
}

/// What a program may name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A kind of storage, by the type of its numbers.
    Storage(&'static str),
}

impl Global {
    fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage("F32"),
            ("torch", "HalfStorage") => Self::Storage("F16"),
            ("torch", "BFloat16Storage") => Self::Storage("BF16"),
            ("torch", "DoubleStorage") => Self::Storage("F64"),
            ("torch", "LongStorage") => Self::Storage("I64"),
            ("torch", "IntStorage") => Self::Storage("I32"),
            ("torch", "ShortStorage") => Self::Storage("I16"),
            ("torch", "CharStorage") => Self::Storage("I8"),
            ("torch", "ByteStorage") => Self::Storage("U8"),
            ("torch", "BoolStorage") => Self::Storage("BOOL"),
            _ => return None,
        })
    }
}

/// A value: small ones themselves, others by their number in the table.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Nothing,
    Int(i64),
    Global(Global),
    Node(usize),
}

/// What is in the table.
#[derive(Debug)]
enum Node {
    Text(String),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage { dtype: &'static str, key: String, numbers: u64 },
    Tensor(Tensor),
}

/// The machine.
struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
}

type Outcome<T> = Result<T, String>;

/// The tensors of a pickled state_dict, by name; the error says what in the program is not allowed or not right.
pub(super) fn state_dict(program: &[u8]) -> Outcome<Vec<(String, Tensor)>> {
    let mut machine = Machine { program, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), nodes: Vec::new() };
    let top = machine.run()?;
    let Some(Node::Dict(entries)) = machine.node(top) else { return Err("it is no state_dict".into()) };
    if entries.len() > MAX_TENSORS {
        return Err(format!("it has {} entries, more than any model has tensors", entries.len()));
    }
    let mut tensors = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Some(name) = machine.name(*key) else { return Err("a key of the state_dict is no name".into()) };
        match machine.node(*value) {
            Some(Node::Tensor(tensor)) => tensors.push((name.to_owned(), tensor.clone())),
            _ => return Err(format!("{name:?} in it is no tensor; is it a plain state_dict?")),
        }
    }
    Ok(tensors)
}

impl Machine<'_> {
    fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(number) => self.nodes.get(number),
            _ => None,
        }
    }

    /// A text that is short enough for a name.
    fn name(&self, value: Value) -> Option<&str> {
        match self.node(value) {
            Some(Node::Text(text)) if text.len() <= MAX_NAME_BYTES => Some(text),
            _ => None,
        }
    }

    fn bytes(&mut self, count: usize) -> Outcome<&[u8]> {
        let bytes = self.program.get(self.at..).and_then(|rest| rest.get(..count)).ok_or("it ends too early")?;
        self.at += count;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        self.bytes(N)?.first_chunk().copied().ok_or_else(|| "it ends too early".into())
    }

    fn byte(&mut self) -> Outcome<u8> {
        self.number::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Outcome<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Outcome<String> {
        let bytes = self.bytes(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| "a text in it is not UTF-8".into())
    }

    fn line(&mut self) -> Outcome<String> {
        let rest = self.program.get(self.at..).unwrap_or_default();
        let length = rest.iter().take(MAX_NAME_BYTES).position(|byte| *byte == b'\n').ok_or("a name in it does not end")?;
        let text = self.text(length)?;
        self.at += 1;
        Ok(text)
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn push_node(&mut self, node: Node) -> Outcome<()> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} values"));
        }
        self.nodes.push(node);
        self.stack.push(Value::Node(self.nodes.len() - 1));
        Ok(())
    }

    fn pop(&mut self) -> Outcome<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("it takes from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "it takes from an empty stack".into())
    }

    fn pop_name(&mut self) -> Outcome<String> {
        let value = self.pop()?;
        self.name(value).map(str::to_owned).ok_or_else(|| "something stands where a name belongs".into())
    }

    /// Everything above the last mark.
    fn pop_mark(&mut self) -> Outcome<Vec<Value>> {
        let mark = self.marks.pop().ok_or("it takes to a mark that was never set")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn pop_many(&mut self, count: usize) -> Outcome<Vec<Value>> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Outcome<Vec<_>>>()?;
        values.reverse();
        Ok(values)
    }

    fn memo_get(&mut self, key: u32) -> Outcome<()> {
        let value = *self.memo.get(&key).ok_or("it recalls what it never stored")?;
        self.push(value);
        Ok(())
    }

    fn memo_put(&mut self, key: u32) -> Outcome<()> {
        let value = *self.stack.last().ok_or("it stores from an empty stack")?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn set(&mut self, items: &[Value]) -> Outcome<()> {
        let target = *self.stack.last().ok_or("it fills nothing")?;
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        match target {
            Value::Node(number) => match self.nodes.get_mut(number) {
                Some(Node::Dict(entries)) if items.len().is_multiple_of(2) => entries.extend(pairs),
                _ => return Err("it fills what is no dict".into()),
            },
            _ => return Err("it fills what is no dict".into()),
        }
        Ok(())
    }

    fn append(&mut self, items: &[Value]) -> Outcome<()> {
        match self.stack.last() {
            Some(Value::Node(number)) => match self.nodes.get_mut(*number) {
                Some(Node::List(list)) => list.extend(items),
                _ => return Err("it appends to what is no list".into()),
            },
            _ => return Err("it appends to what is no list".into()),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Outcome<()> {
        let global =
            Global::find(module, name).ok_or_else(|| format!("it names {module}.{name}, which is not needed for weights"))?;
        self.push(Value::Global(global));
        Ok(())
    }

    /// Runs the program; the value that it leaves.
    fn run(&mut self) -> Outcome<Value> {
        loop {
            match self.byte()? {
                b'.' => return self.pop(),
                0x80 => _ = self.byte()?,
                0x95 => _ = self.bytes(8)?,
                b'(' => self.marks.push(self.stack.len()),
                b'0' => _ = self.pop()?,
                b'1' => _ = self.pop_mark()?,
                b'2' => {
                    let value = self.pop()?;
                    self.stack.extend([value, value]);
                }
                b'N' => self.push(Value::Nothing),
                0x88 => self.push(Value::Int(1)),
                0x89 => self.push(Value::Int(0)),
                b'K' => {
                    let value = self.byte()?;
                    self.push(Value::Int(value.into()));
                }
                b'M' => {
                    let value = self.number().map(u16::from_le_bytes)?;
                    self.push(Value::Int(value.into()));
                }
                b'J' => {
                    let value = self.number().map(i32::from_le_bytes)?;
                    self.push(Value::Int(value.into()));
                }
                0x8A => self.long()?,
                b'G' => {
                    // Floating-point numbers have no part in a tensor's description.
                    self.bytes(8)?;
                    self.push(Value::Nothing);
                }
                b'X' => {
                    let length = self.u32()? as usize;
                    let text = self.text(length)?;
                    self.push_node(Node::Text(text))?;
                }
                0x8C | b'U' => {
                    let length = self.byte()?.into();
                    let text = self.text(length)?;
                    self.push_node(Node::Text(text))?;
                }
                b'}' => self.push_node(Node::Dict(Vec::new()))?,
                b']' => self.push_node(Node::List(Vec::new()))?,
                b')' => self.push_node(Node::Tuple(Vec::new()))?,
                b't' => {
                    let values = self.pop_mark()?;
                    self.push_node(Node::Tuple(values))?;
                }
                count @ 0x85..=0x87 => {
                    let values = self.pop_many(usize::from(count - 0x84))?;
                    self.push_node(Node::Tuple(values))?;
                }
                b's' => {
                    let items = self.pop_many(2)?;
                    self.set(&items)?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.set(&items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' => {
                    let items = self.pop_mark()?;
                    self.append(&items)?;
                }
                b'q' => {
                    let key = self.byte()?.into();
                    self.memo_put(key)?;
                }
                b'r' => {
                    let key = self.u32()?;
                    self.memo_put(key)?;
                }
                0x94 => self.memo_put(self.memo.len() as u32)?,
                b'h' => {
                    let key = self.byte()?.into();
                    self.memo_get(key)?;
                }
                b'j' => {
                    let key = self.u32()?;
                    self.memo_get(key)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop_name()?, self.pop_name()?);
                    self.global(&module, &name)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                b'b' => self.build()?,
                other => {
                    return Err(format!(
                        "it has the instruction 0x{other:02X} at byte {}, which is not needed for weights",
                        self.at - 1
                    ));
                }
            }
        }
    }

    fn long(&mut self) -> Outcome<()> {
        let length = usize::from(self.byte()?);
        let bytes = self.bytes(length)?;
        if length > 8 {
            return Err("a number in it is too large".into());
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xFF } else { 0 }; 8];
        whole[..length].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(whole)));
        Ok(())
    }

    fn tuple(&self, value: Value) -> Outcome<&[Value]> {
        match self.node(value) {
            Some(Node::Tuple(values)) => Ok(values),
            _ => Err("something stands where a tuple belongs".into()),
        }
    }

    /// A reference to something outside: `("storage", kind, key, location, numbers)`.
    fn storage(&mut self) -> Outcome<()> {
        let value = self.pop()?;
        let storage = match self.tuple(value)? {
            &[word, Value::Global(Global::Storage(dtype)), key, _, Value::Int(numbers)] => {
                match (self.name(word), self.name(key)) {
                    (Some("storage"), Some(key)) => {
                        u64::try_from(numbers).ok().map(|numbers| Node::Storage { dtype, key: key.to_owned(), numbers })
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        self.push_node(storage.ok_or("it refers to something that is no storage of numbers")?)?;
        Ok(())
    }

    fn call(&mut self) -> Outcome<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        // No more of them than are looked at: they may be many, and called with often.
        let arguments: Vec<Value> = self.tuple(arguments)?.iter().take(MAX_DIMENSIONS).copied().collect();
        match (function, &arguments[..]) {
            (Value::Global(Global::OrderedDict), []) => self.push_node(Node::Dict(Vec::new()))?,
            (Value::Global(Global::RebuildTensor), &[storage, Value::Int(offset), shape, strides, ..]) => {
                let tensor = self.tensor(storage, offset, shape, strides)?;
                self.push_node(Node::Tensor(tensor))?;
            }
            (Value::Global(Global::RebuildParameter), &[data, ..]) => self.push(data),
            _ => return Err("it calls something in a way that is not needed for weights".into()),
        }
        Ok(())
    }

    /// State for what stands below it: a state_dict's versions of its modules, which are not needed.
    fn build(&mut self) -> Outcome<()> {
        self.pop()?;
        match self.stack.last().and_then(|target| self.node(*target)) {
            Some(Node::Dict(_)) => Ok(()),
            _ => Err("it gives a state to something other than a dict".into()),
        }
    }

    fn sizes(&self, value: Value) -> Outcome<Vec<u64>> {
        let values = self.tuple(value)?;
        if values.len() > MAX_DIMENSIONS {
            return Err(format!("a tensor in it has {} dimensions", values.len()));
        }
        let size = |value: &Value| match value {
            Value::Int(size) => u64::try_from(*size).map_err(|_| "a size in it is negative".to_owned()),
            _ => Err("something stands where a size belongs".to_owned()),
        };
        values.iter().map(size).collect()
    }

    fn tensor(&self, storage: Value, offset: i64, shape: Value, strides: Value) -> Outcome<Tensor> {
        let Some(Node::Storage { dtype, key, numbers }) = self.node(storage) else {
            return Err("a tensor in it has no storage".into());
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let offset = u64::try_from(offset).map_err(|_| "a tensor in it begins before its storage")?;
        let mut expected = 1_u64;
        if shape.len() != strides.len() {
            return Err("a tensor in it has more sizes than strides, or fewer".into());
        }
        for (size, stride) in shape.iter().zip(&strides).rev() {
            if *size > 1 && *stride != expected {
                return Err(format!(
                    "a tensor of shape {shape:?} in it does not lie row by row (it was transposed or cut before it was saved)"
                ));
            }
            expected = expected.checked_mul(*size).ok_or("a tensor in it is too large")?;
        }
        if offset.checked_add(expected).is_none_or(|end| end > *numbers) {
            return Err(format!("a tensor of shape {shape:?} in it does not fit its storage of {numbers} numbers"));
        }
        Ok(Tensor { storage: key.clone(), dtype, offset, storage_numbers: *numbers, shape })
    }
}
