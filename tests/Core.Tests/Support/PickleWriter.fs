/// Files as torch.save writes them: archives, and the sequence of pickles before PyTorch 1.6.
module Support.PickleWriter

open System
open System.IO
open System.IO.Compression
open System.Text
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// A value of Python that a checkpoint holds.
type Python =
    | PyNone
    | PyTrue
    | PyInt of int
    | PyFloat of float
    | PyText of string
    | PyTuple of Python list
    | PyDict of (Python * Python) list
    | PyGlobal of modul: string * name: string
    | PyCall of callee: Python * arguments: Python list
    /// A call whose state is set afterwards: an object of a class.
    | PyObject of callee: Python * arguments: Python list * state: Python
    | PyPersistent of Python

let private int32 (value: int) = BitConverter.GetBytes value

/// A pickle of protocol 2.
let pickle (value: Python) : byte[] =
    use stream = new MemoryStream()
    let write (bytes: byte[]) = stream.Write(bytes, 0, bytes.Length)
    let code (c: char) = stream.WriteByte(byte c)
    let line (text: string) = write (Encoding.UTF8.GetBytes(text + "\n"))

    let rec put value =
        match value with
        | PyNone -> code 'N'
        | PyTrue -> stream.WriteByte 0x88uy
        | PyInt n ->
            code 'J'
            write (int32 n)
        | PyFloat x ->
            code 'G'
            write (Array.rev (BitConverter.GetBytes x))
        | PyText text ->
            let bytes = Encoding.UTF8.GetBytes text
            code 'X'
            write (int32 bytes.Length)
            write bytes
        | PyTuple items ->
            code '('
            List.iter put items
            code 't'
        | PyDict entries ->
            code '}'
            fill entries
        | PyGlobal(modul, name) ->
            code 'c'
            line modul
            line name
        | PyCall(callee, arguments) ->
            put callee
            put (PyTuple arguments)
            code 'R'
        | PyObject(callee, arguments, state) ->
            put (PyCall(callee, arguments))
            put state
            code 'b'
        | PyPersistent id ->
            put id
            code 'Q'

    and fill entries =
        code '('

        for key, value in entries do
            put key
            put value

        code 'u'

    write [| 0x80uy; 2uy |]
    put value
    code '.'
    stream.ToArray()

/// A dictionary under texts.
let dict (entries: (string * Python) list) = PyDict [ for key, value in entries -> PyText key, value ]

/// Storages by key, with their bytes, in the order in which a file's tensors met them.
type Storages = Collections.Generic.List<string * byte[]>

let private kinds =
    Map [
        torch.float64, "Double"
        torch.float32, "Float"
        torch.float16, "Half"
        torch.bfloat16, "BFloat16"
        torch.int64, "Long"
        torch.int8, "Char"
    ]

/// A tensor of a storage that is added; size, strides and offset as given, so that they may lie.
let view (storages: Storages) isLegacy (storage: Tensor) (offset: int) (shape: int64[]) (strides: int64[]) =
    let key = string storages.Count
    storages.Add((key, TensorTree.bytes storage))
    let kind = PyGlobal("torch", kinds[storage.dtype] + "Storage")
    let count = PyInt(int (storage.numel ()))
    let id =
        [ PyText "storage"; kind; PyText key; PyText "cpu"; count ] @ (if isLegacy then [ PyNone ] else [])
    let ints (values: int64[]) = PyTuple [ for value in values -> PyInt(int value) ]
    let hooks = PyCall(PyGlobal("collections", "OrderedDict"), [])

    PyCall(
        PyGlobal("torch._utils", "_rebuild_tensor_v2"),
        [ PyPersistent(PyTuple id); PyInt offset; ints shape; ints strides; PyTrue; hooks ]
    )

/// A contiguous tensor with a storage of its own.
let whole storages isLegacy (x: Tensor) = view storages isLegacy x 0 x.shape (x.contiguous().stride())

let private entry (archive: ZipArchive) (name: string) (bytes: byte[]) =
    use stream = archive.CreateEntry("archive/" + name, CompressionLevel.NoCompression).Open()
    stream.Write(bytes, 0, bytes.Length)

/// The bytes of a file with this value, which adds its tensors' storages.
let archive (value: Storages -> Python) : byte[] =
    let storages = Storages()
    let data = pickle (value storages)
    use stream = new MemoryStream()

    do
        use archive = new ZipArchive(stream, ZipArchiveMode.Create, true)
        entry archive "data.pkl" data

        for key, bytes in storages do
            entry archive ("data/" + key) bytes

        entry archive "version" "3\n"B

    stream.ToArray()

/// The same before PyTorch 1.6; the types tell the width of each storage's elements.
let legacy (width: int) (value: Storages -> Python) : byte[] =
    let storages = Storages()
    let data = pickle (value storages)
    let magic = Convert.FromHexString "80028A0A6CFC9C46F9206AA850192E"
    let system = dict [ "protocol_version", PyInt 1001; "little_endian", PyTrue ]
    let keys = PyTuple [ for key, _ in storages -> PyText key ]

    Array.concat [
        magic
        pickle (PyInt 1001)
        pickle system
        data
        pickle keys
        for _, bytes in storages do
            BitConverter.GetBytes(int64 (bytes.Length / width))
            bytes
    ]
