namespace AdvContrast.Core.Runs

open System
open System.Buffers.Binary
open System.Collections.Generic
open System.Globalization
open System.IO
open System.Text
open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Training

/// Reads the pickles of Python (protocols 0 to 5) without running anything in them.
[<RequireQualifiedAccess>]
module Pickle =

    let private invalid text = raise (InvalidDataException text)

    // The stack machine of one pickle.
    type private Machine(stream: Stream) =
        let stack = Stack<Pickled>()
        let memo = Dictionary<int64, Pickled>()

        let bytes count = StoredTensor.bytes count stream

        let byte () =
            match stream.ReadByte() with
            | -1 -> raise (EndOfStreamException())
            | b -> int64 b

        let uint16 () = int64 (BinaryPrimitives.ReadUInt16LittleEndian(ReadOnlySpan<byte>(bytes 2L)))
        let int32 () = int64 (BinaryPrimitives.ReadInt32LittleEndian(ReadOnlySpan<byte>(bytes 4L)))
        let uint32 () = int64 (BinaryPrimitives.ReadUInt32LittleEndian(ReadOnlySpan<byte>(bytes 4L)))
        let int64' () = BinaryPrimitives.ReadInt64LittleEndian(ReadOnlySpan<byte>(bytes 8L))

        let line () =
            let text = StringBuilder()
            let mutable b = byte ()

            while b <> int64 '\n' do
                text.Append(char b) |> ignore
                b <- byte ()

            text.ToString()

        let utf8 count = Encoding.UTF8.GetString(bytes count)

        let push value = stack.Push value

        let pop () =
            match stack.TryPop() with
            | true, Mark
            | false, _ -> invalid "its pickle takes a value that is not there."
            | true, value -> value

        let skip count =
            bytes count |> ignore
            push Opaque

        // What lies above the last mark, first to last; the mark is taken off.
        let popMark () =
            let values = ResizeArray()
            let mutable isOpen = true

            while isOpen do
                match stack.TryPop() with
                | true, Mark -> isOpen <- false
                | true, value -> values.Add value
                | false, _ -> invalid "its pickle has no mark."

            values.Reverse()
            values

        let top () =
            match stack.TryPeek() with
            | true, Mark
            | false, _ -> invalid "its pickle changes a value that is not there."
            | true, value -> value

        let append (values: ResizeArray<Pickled>) =
            match top () with
            | Items items -> items.AddRange values
            // What is put into an object that is no list is not of interest.
            | _ -> ()

        let put (values: ResizeArray<Pickled>) =
            let pairs = [ for i in 0..2 .. values.Count - 2 -> values[i], values[i + 1] ]

            match top () with
            | Dict entries
            | Call(_, _, entries) -> entries.AddRange pairs
            | _ -> ()

        let several count =
            let values = ResizeArray [ for _ in 1..count -> pop () ]
            values.Reverse()
            push (Items values)

        let integer (text: string) =
            match
                text,
                Int64.TryParse(text.TrimEnd 'L', NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture)
            with
            | "00", _ -> Bool false
            | "01", _ -> Bool true
            | _, (true, value) -> Int value
            | _ -> Opaque

        // A little-endian integer in two's complement.
        let long count =
            let value = Numerics.BigInteger(ReadOnlySpan<byte>(bytes count))
            let isSmall =
                value >= Numerics.BigInteger Int64.MinValue && value <= Numerics.BigInteger Int64.MaxValue
            push (if isSmall then Int(int64 value) else Opaque)

        let call callee arguments = push (Call(callee, arguments, ResizeArray()))

        let get key =
            match memo.TryGetValue key with
            | true, value -> push value
            | false, _ -> invalid "its pickle refers to a value that is not there."

        let remember key = memo[key] <- top ()

        let key text =
            match integer text with
            | Int key -> key
            | _ -> invalid "its pickle refers to a value that is not there."

        let text value =
            match value with
            | Text text -> text
            | _ -> invalid "its pickle names a global by something else than a text."

        // The memo, the stack and frames.
        let bookkeeping (operation: char) =
            match operation with
            | '\128' -> if byte () > 5L then invalid "its pickle has a protocol that is not known."
            | '\149' -> bytes 8L |> ignore
            | '0' -> stack.TryPop() |> ignore
            | '1' -> popMark () |> ignore
            | '2' -> push (top ())
            | 'g' -> get (key (line ()))
            | 'h' -> get (byte ())
            | 'j' -> get (uint32 ())
            | 'p' -> remember (key (line ()))
            | 'q' -> remember (byte ())
            | 'r' -> remember (uint32 ())
            | '\148' -> remember (int64 memo.Count)
            | _ -> invalid (sprintf "its pickle has the unknown operation %d." (int operation))

        // Globals, calls and the state of objects.
        let object' (operation: char) =
            match operation with
            | 'c' ->
                let modul = line ()
                push (Pickled.globalOf modul (line ()))
            | '\147' ->
                let name = text (pop ())
                push (Pickled.globalOf (text (pop ())) name)
            | 'R'
            | '\129' ->
                let arguments = pop ()
                call (pop ()) arguments
            | '\146' ->
                pop () |> ignore
                let arguments = pop ()
                call (pop ()) arguments
            | 'i' ->
                let modul = line ()
                call (Pickled.globalOf modul (line ())) (Items(popMark ()))
            | 'o' ->
                let values = popMark ()
                if values.Count = 0 then invalid "its pickle constructs nothing."
                call values[0] (Items(values.GetRange(1, values.Count - 1)))
            | 'b' -> pop () |> ignore
            | 'P' -> push (Persistent(Text(line ())))
            | 'Q' -> push (Persistent(pop ()))
            | _ -> bookkeeping operation

        // Tuples, lists, sets and dictionaries.
        let collection (operation: char) =
            match operation with
            | '(' -> push Mark
            | ')'
            | ']'
            | '\143' -> push (Items(ResizeArray()))
            | 't'
            | 'l'
            | '\145' -> push (Items(popMark ()))
            | '\133' -> several 1
            | '\134' -> several 2
            | '\135' -> several 3
            | '}' -> push (Dict(ResizeArray()))
            | 'd' ->
                let values = popMark ()
                push (Dict(ResizeArray()))
                put values
            | 'a' -> append (ResizeArray [ pop () ])
            | 'e'
            | '\144' -> append (popMark ())
            | 's' ->
                let value = pop ()
                let key = pop ()
                put (ResizeArray [ key; value ])
            | 'u' -> put (popMark ())
            | _ -> object' operation

        // Numbers and texts.
        let value (operation: char) =
            match operation with
            | 'N' -> push Nothing
            | '\136' -> push (Bool true)
            | '\137' -> push (Bool false)
            | 'I'
            | 'L' -> push (integer (line ()))
            | 'J' -> push (Int(int32 ()))
            | 'K' -> push (Int(byte ()))
            | 'M' -> push (Int(uint16 ()))
            | '\138' -> long (byte ())
            | '\139' -> long (int32 ())
            | 'F' ->
                line () |> ignore
                push Opaque
            | 'G' -> skip 8L
            | 'S'
            | 'V' -> push (Text((line ()).Trim('\'', '"')))
            | 'T' -> push (Text(utf8 (int32 ())))
            | 'U'
            | '\140' -> push (Text(utf8 (byte ())))
            | 'X' -> push (Text(utf8 (uint32 ())))
            | '\141' -> push (Text(utf8 (int64' ())))
            | 'B' -> skip (uint32 ())
            | 'C' -> skip (byte ())
            | '\142'
            | '\150' -> skip (int64' ())
            | _ -> collection operation

        /// The value of the pickle at the stream's position; then the stream is behind it.
        member _.Run() : Pickled =
            let mutable result = ValueNone

            while result.IsNone do
                match char (byte ()) with
                | '.' -> result <- ValueSome(pop ())
                | operation -> value operation

            result.Value

    /// The value of the pickle at the stream's position; then the stream is behind it. InvalidDataException where
    /// it is not a pickle or names functions that do harm, EndOfStreamException where it was cut short.
    let read (stream: Stream) : Pickled = Machine(stream).Run()
