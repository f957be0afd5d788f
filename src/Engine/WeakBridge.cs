using System;
using System.IO;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace AdvContrast.Engine;

/// <summary>
/// Loads TorchSharp's library on Linux with a libstdc++ older than GCC 13's, from a copy in the user's cache.
/// </summary>
/// <remarks>
/// The library requires the version GLIBCXX_3.4.32 for one symbol, std::ios_base_library_init, which no relocation
/// uses. The copy marks that version as weak, so that the loader accepts a libstdc++ without it.
/// </remarks>
internal static class WeakBridge
{
    /// <summary>The version that an older libstdc++ lacks.</summary>
    internal const string NewestVersion = "GLIBCXX_3.4.32";

    /// <summary>Loads the copy, which is written where it is missing or damaged.</summary>
    /// <param name="path">The library of the package, which is left as it is.</param>
    /// <exception cref="LibTorchException">The library is not as expected, or the copy cannot be loaded.</exception>
    internal static nint Load(string path)
    {
        var name = Path.GetFileName(path);
        try
        {
            var bytes = File.ReadAllBytes(path);
            var hash = Convert.ToHexString(SHA256.HashData(bytes));
            ElfFile.WeakenVersion(bytes, NewestVersion);
            if (UserCache.OfUser is { } cache && TryCopy(Path.Combine(cache, hash), name, bytes) is { } copy)
                return NativeLibrary.Load(copy);

            // The folder is this user's alone, and the library needs no file once it is loaded.
            var folder = Directory.CreateTempSubdirectory("advcontrast-");
            try
            {
                return NativeLibrary.Load(Write(folder.FullName, name, bytes));
            }
            finally
            {
                folder.Delete(recursive: true);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new LibTorchException(
                $"a copy of {path} for this system's libstdc++ can be written neither to {UserCache.Folder} nor to "
                    + $"{Path.GetTempPath()}: set XDG_CACHE_HOME to a folder that can be written.", e);
        }
        catch (Exception e) when (e is InvalidDataException or DllNotFoundException or BadImageFormatException)
        {
            throw new LibTorchException(
                $"{path} needs a libstdc++ with {NewestVersion} (Debian 13, Ubuntu 24.04), and could not be adapted to "
                    + $"this system's: {LibTorch.Reason(e)}", e);
        }
    }

    /// <summary>The path of the copy, or null where it is not in the folder and cannot be written.</summary>
    internal static string? TryCopy(string folder, string name, byte[] bytes)
    {
        try
        {
            var copy = Path.Combine(folder, name);
            if (File.Exists(copy) && File.ReadAllBytes(copy).AsSpan().SequenceEqual(bytes)) return copy;
            Directory.CreateDirectory(folder);
            return Write(folder, name, bytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    // Renaming is atomic: another process sees no file or all of it.
    private static string Write(string folder, string name, byte[] bytes)
    {
        var copy = Path.Combine(folder, name);
        var part = Path.Combine(folder, $"{Guid.NewGuid():N}.part");
        try
        {
            File.WriteAllBytes(part, bytes);
            File.Move(part, copy, overwrite: true);
            return copy;
        }
        finally
        {
            File.Delete(part);
        }
    }
}
