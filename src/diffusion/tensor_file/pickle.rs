//! Just enough of Python's pickle machine to learn which tensors a file of `torch.save` holds. It builds plain values and
//! calls nothing: of all the functions and classes a pickle may name, those that rebuild tensors and dictionaries are
//! known here, and the result of any other is an object with nothing but the entries it is given.
//!
//! Our own rather than `candle_core::pickle`, which reserves as many bytes as a string says it has, copies whole trees at
//! each use (so nesting doubles its memory), and panics when a tensor is described by too few values.

mod objects;

use std::collections::HashMap;

/// Values a pickle may make; a checkpoint with optimizer states makes 100,000.
const MAX_VALUES: usize = 1_000_000;

/// Where the numbers of tensors are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    /// `FloatStorage`, ...
    pub type_name: &'a str,
    /// The file that has them.
    pub key: &'a str,
    /// How many there are.
    pub len: usize,
}

/// A tensor as described: nothing about it is checked.
#[derive(Debug, Clone)]
pub(super) struct Tensor<'a> {
    pub storage: Storage<'a>,
    /// Of its first number in the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// As many as there are dimensions.
    pub strides: Vec<usize>,
}

/// What is looked for in a pickle.
pub(super) enum Found<'a> {
    Tensor(Tensor<'a>),
    Number(i64),
    Text(&'a str),
}

/// A value's place in [`Machine::values`].
type Id = u32;

#[derive(Debug)]
enum Value<'a> {
    None,
    Int(i64),
    Text(&'a str),
    /// A function or class: module and name.
    Global(&'a str, &'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Storage(Storage<'a>),
    Tensor(Box<Tensor<'a>>),
    /// Whatever else: floats, bytes, sets, big numbers.
    Other,
}

type Result<T> = std::result::Result<T, String>;

/// The tensors and numbers of a pickle, by name. Those of `state_dict` where it has one, else of `model`, as some
/// trainers call it, else all; the numbers are the outermost
/// dictionary's.
pub(super) fn read(pickle: &[u8]) -> Result<Vec<(String, Found<'_>)>> {
    let mut machine = Machine {
        pickle,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    let root = machine.run()?;
    machine.collect(root)
}

struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    /// All values ever made. Others refer to them by their place, so sharing and cycles cost nothing.
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Entries of dictionaries copied to objects.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id> {
        loop {
            let (at, code) = (self.at, self.byte()?);
            if code == b'.' {
                return self.pop();
            }
            self.step(code).map_err(|cause| format!("{cause} (byte {at})"))?;
        }
    }

    /// Do one instruction (Python's `pickletools` lists them).
    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            // PROTO, FRAME: nothing to do.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            // NONE; NEWTRUE, NEWFALSE, EMPTY_SET
            b'N' => self.make(Value::None)?,
            0x88 | 0x89 | 0x8f => self.make(Value::Other)?,
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.make(Value::Int(value.into()))?;
            }
            b'K' => {
                let value = self.byte()?;
                self.make(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.make(Value::Int(value.into()))?;
            }
            0x8a => {
                let len = usize::from(self.byte()?);
                self.long(len)?;
            }
            0x8b => {
                let len = self.len32()?;
                self.long(len)?;
            }
            // BINFLOAT
            b'G' => {
                self.take(8)?;
                self.make(Value::Other)?;
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8; BINSTRING, SHORT_BINSTRING of Python 2
            b'X' | b'T' => {
                let len = self.len32()?;
                self.text(len)?;
            }
            0x8c | b'U' => {
                let len = usize::from(self.byte()?);
                self.text(len)?;
            }
            0x8d => {
                let len = self.len64()?;
                self.text(len)?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' => {
                let len = self.len32()?;
                self.bytes(len)?;
            }
            b'C' => {
                let len = usize::from(self.byte()?);
                self.bytes(len)?;
            }
            0x8e | 0x96 => {
                let len = self.len64()?;
                self.bytes(len)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.make(Value::Global(module, name))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (&Value::Text(module), &Value::Text(name)) = (self.value(module), self.value(name)) else {
                    return Err("a class without a name".into());
                };
                self.make(Value::Global(module, name))?;
            }
            // MARK, POP, POP_MARK and ADDITEMS (of a set, which is nothing to us), DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' | 0x90 => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b')' => self.make(Value::Tuple(Vec::new()))?,
            b't' => {
                let items = self.pop_mark()?;
                self.make(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(code - 0x84))?;
                self.make(Value::Tuple(items))?;
            }
            // EMPTY_LIST, LIST, APPEND, APPENDS
            b']' => self.make(Value::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_mark()?;
                self.make(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop_many(1)?;
                self.append(&item)?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.make(Value::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_mark()?;
                self.make(Value::Dict(pairs(&items)?))?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            // FROZENSET
            0x91 => {
                self.pop_mark()?;
                self.make(Value::Other)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let slot = self.byte()?.into();
                self.memoize(slot)?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.memoize(slot)?;
            }
            0x94 => {
                let slot = u32::try_from(self.memo.len()).map_err(|_| TOO_MANY)?;
                self.memoize(slot)?;
            }
            // BINGET, LONG_BINGET
            b'h' => {
                let slot = self.byte()?.into();
                self.recall(slot)?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.recall(slot)?;
            }
            // REDUCE, NEWOBJ, NEWOBJ_EX: where Python would call.
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.construct(callable, arguments)?;
            }
            0x92 => {
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.construct(callable, arguments)?;
            }
            // BUILD: the attributes of an object.
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            // BINPERSID: a storage.
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id).ok_or("a reference to something that is no storage")?;
                self.make(Value::Storage(storage))?;
            }
            other => return Err(format!("instruction {other:#04x}, which torch.save does not write")),
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.pickle.len());
        let end =
            end.ok_or_else(|| format!("it ends at byte {} of {}", self.pickle.len(), self.at.saturating_add(len)))?;
        let taken = &self.pickle[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| "it ends too early".to_owned())
    }

    fn len32(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn len64(&mut self) -> Result<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|e| e.to_string())
    }

    /// A whole number of `len` bytes; only numbers of 64 bits matter.
    fn long(&mut self, len: usize) -> Result<()> {
        let bytes = self.take(len)?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        let value = match wide.get_mut(..len) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            None => Value::Other,
        };
        self.make(value)
    }

    fn text(&mut self, len: usize) -> Result<()> {
        let bytes = self.take(len)?;
        self.make(std::str::from_utf8(bytes).map_or(Value::Other, Value::Text))
    }

    fn bytes(&mut self, len: usize) -> Result<()> {
        self.take(len)?;
        self.make(Value::Other)
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.pickle[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or("a name without an end")?;
        let line = &self.take(len + 1)?[..len];
        std::str::from_utf8(line).map_err(|_| "a name that is not UTF-8".into())
    }

    fn make(&mut self, value: Value<'a>) -> Result<()> {
        let id = Id::try_from(self.values.len()).map_err(|_| TOO_MANY)?;
        if self.values.len() >= MAX_VALUES {
            return Err(TOO_MANY.into());
        }
        self.values.push(value);
        self.push(id)
    }

    fn push(&mut self, id: Id) -> Result<()> {
        if self.stack.len() >= MAX_VALUES {
            return Err(TOO_MANY.into());
        }
        self.stack.push(id);
        Ok(())
    }

    fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    /// The lowest place of the stack that an instruction may take from.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        Ok(*top.ok_or("an instruction without its operand")?)
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        Ok(self.stack.split_off(start.ok_or("an instruction without its operands")?))
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or("an instruction without its mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn memoize(&mut self, slot: u32) -> Result<()> {
        let top = self.top()?;
        if self.memo.len() >= MAX_VALUES {
            return Err(TOO_MANY.into());
        }
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        let id = *self.memo.get(&slot).ok_or("a value that was never kept")?;
        self.push(id)
    }

    /// Append to a list; what other objects do with it is nothing to us.
    fn append(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        if let Value::List(list) = &mut self.values[top as usize] {
            list.extend_from_slice(items);
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let (top, items) = (self.top()?, pairs(items)?);
        if let Value::Dict(dict) = &mut self.values[top as usize] {
            dict.extend(items);
        }
        Ok(())
    }
}

const TOO_MANY: &str = "it makes more or longer values than any checkpoint";

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err("a key without a value".into())
    }
}
